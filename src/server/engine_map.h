/// Which group of ranks drives which engine. Pure.
///
///   ranks   0 1 | 2 3 | 4 5 | 6 7        groups of inference_parallel_size = 2
///   hosts   a a   a a   b b   b b        host a lists 2 endpoints, host b 1: group 3 only holds and sends
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ckpt/result.h"

namespace ckpt {

/// What a rank says about itself before an update.
struct RankPlace {
  std::string host;             ///< equal text: same host
  std::uint32_t num_endpoints;  ///< engines that its host's ranks were told of
};

struct EngineGroup {
  std::uint32_t first_rank;               ///< the leader: it makes the HTTP call
  std::uint32_t num_ranks;                ///< inference_parallel_size
  std::optional<std::uint32_t> endpoint;  ///< index into the leader's endpoints; none: the group only holds and sends
};

/// Divides the ranks into groups in rank order; the k-th group led from a host drives the k-th endpoint of that host.
/// invalid_argument: the size does not divide the ranks, more endpoints than groups on a host, or no endpoint at all.
[[nodiscard]] Result<std::vector<EngineGroup>> map_engines(std::span<const RankPlace> places, std::uint32_t inference_parallel_size);

}  // namespace ckpt
