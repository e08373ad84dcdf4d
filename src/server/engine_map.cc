#include "server/engine_map.h"

#include <map>

namespace ckpt {

Result<std::vector<EngineGroup>> map_engines(std::span<const RankPlace> places, std::uint32_t inference_parallel_size) {
  const auto num_ranks = static_cast<std::uint32_t>(places.size());
  if (inference_parallel_size == 0 || num_ranks % inference_parallel_size != 0)
    return Status(StatusCode::invalid_argument, Scope::operation, "--inference-parallel-size {} does not divide {} ranks", inference_parallel_size,
                  num_ranks)
        .advise("start as many ranks as the engines have workers in all");
  std::vector<EngineGroup> groups;
  std::map<std::string, std::uint32_t> led_from;  // host → groups led from it so far
  bool any = false;
  for (std::uint32_t first = 0; first < num_ranks; first += inference_parallel_size) {
    const std::uint32_t index = led_from[places[first].host]++;
    EngineGroup group{first, inference_parallel_size, std::nullopt};
    if (index < places[first].num_endpoints) group.endpoint = index;
    any = any || group.endpoint.has_value();
    groups.push_back(group);
  }
  for (std::uint32_t rank = 0; rank < num_ranks; ++rank) {
    const auto led = led_from.find(places[rank].host);
    const std::uint32_t num_groups = led == led_from.end() ? 0 : led->second;
    if (num_groups > 0 && places[rank].num_endpoints > num_groups)
      return Status(StatusCode::invalid_argument, Scope::operation,
                    "{} endpoints were given, but only {} group(s) of {} rank(s) are led from this host", places[rank].num_endpoints, num_groups,
                    inference_parallel_size)
          .at_rank(static_cast<int>(rank))
          .advise("give one --endpoint for each group, or start more ranks");
  }
  if (!any) return Status(StatusCode::invalid_argument, Scope::operation, "no rank that leads a group was given an --endpoint");
  return groups;
}

}  // namespace ckpt
