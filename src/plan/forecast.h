/// What a plan moves over each link, and how long that takes at given rates: the figures behind plan_text and plan_json.
#pragma once

#include "plan/plan.h"

namespace ckpt {

/// Bytes of one update on one rank, padding included where frames have it.
struct RankTraffic {
  std::uint64_t filled_bytes = 0;       ///< from its pool into slots
  std::uint64_t received_bytes = 0;     ///< from other ranks
  std::uint64_t handed_over_bytes = 0;  ///< to its engine's worker; 0 where the group only holds and sends

  friend bool operator==(const RankTraffic&, const RankTraffic&) = default;
};

/// Seconds; 0 where the rate is unknown.
struct Forecast {
  double fill = 0;
  double exchange = 0;
  double handover = 0;
  double update = 0;  ///< all of it: stages overlap, but for the first and last frame, and not from frame to frame with one slot
};

[[nodiscard]] std::uint64_t tensor_bytes(const Plan& plan);
[[nodiscard]] std::vector<RankTraffic> traffic_of(const Plan& plan);
[[nodiscard]] Forecast forecast(const Plan& plan, std::span<const RankTraffic> traffic, const LinkRates& rates);

}  // namespace ckpt
