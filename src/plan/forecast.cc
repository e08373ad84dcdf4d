#include "plan/forecast.h"

#include <algorithm>

namespace ckpt {

std::uint64_t tensor_bytes(const Plan& plan) {
  std::uint64_t bytes = 0;
  for (const Parameter& parameter : plan.layout->parameters) bytes += parameter.bytes;
  return bytes;
}

std::vector<RankTraffic> traffic_of(const Plan& plan) {
  const FrameLayout& frames = plan.layout->frames;
  const std::uint64_t total = frames.total_bytes();
  const std::uint64_t handed_over = tensor_bytes(plan);
  std::vector<RankTraffic> traffic(frames.num_ranks);
  for (std::uint32_t rank = 0; rank < frames.num_ranks; ++rank) {
    const std::uint64_t share = frames.bytes_of(rank);
    const bool drives = plan.topology.drives_engine[rank / plan.topology.inference_parallel_size];
    traffic[rank] = {share, total - share, drives ? handed_over : 0};
  }
  return traffic;
}

Forecast forecast(const Plan& plan, std::span<const RankTraffic> traffic, const LinkRates& rates) {
  const auto slowest = [&](std::uint64_t RankTraffic::*bytes, double rate) {
    std::uint64_t most = 0;
    for (const RankTraffic& rank : traffic) most = std::max(most, rank.*bytes);
    return rate > 0 ? static_cast<double>(most) / rate : 0.0;
  };
  Forecast result;
  result.fill = slowest(&RankTraffic::filled_bytes, rates.fill);
  result.exchange = slowest(&RankTraffic::received_bytes, rates.exchange);
  result.handover = slowest(&RankTraffic::handed_over_bytes, rates.apply);
  const double longest = std::max({result.fill, result.exchange, result.handover});
  const auto num_frames = static_cast<double>(std::max<std::size_t>(plan.layout->frames.frames.size(), 1));
  // Stripes of one frame overlap fill and exchange in any case; only hand-over needs a second slot to overlap.
  result.update = plan.num_slots == 1 ? std::max(result.fill, result.exchange) + result.handover
                                      : longest + (result.fill + result.exchange + result.handover - longest) / num_frames;
  return result;
}

}  // namespace ckpt
