// A plan's totals for machines.
#include <nlohmann/json.hpp>

#include "plan/forecast.h"
#include "plan/plan.h"

namespace ckpt {
namespace {

using nlohmann::json;

json ranks_json(const Plan& plan, std::span<const RankTraffic> traffic) {
  json ranks = json::array();
  for (std::uint32_t rank = 0; rank < plan.topology.num_ranks; ++rank) {
    const std::uint32_t group = rank / plan.topology.inference_parallel_size;
    ranks.push_back({{"rank", rank},
                     {"host", plan.topology.hosts.empty() ? std::string() : plan.topology.hosts[rank]},
                     {"group", group},
                     {"drives_engine", static_cast<bool>(plan.topology.drives_engine[group])},
                     {"filled_bytes", traffic[rank].filled_bytes},
                     {"received_bytes", traffic[rank].received_bytes},
                     {"handed_over_bytes", traffic[rank].handed_over_bytes}});
  }
  return ranks;
}

json largest_tensor_json(const CheckpointLayout& layout) {
  const Parameter* largest = nullptr;
  for (const Parameter& parameter : layout.parameters)
    if (largest == nullptr || parameter.bytes > largest->bytes) largest = &parameter;
  return largest == nullptr ? json() : json{{"name", largest->name}, {"bytes", largest->bytes}};
}

}  // namespace

std::string plan_json(const Plan& plan, const LinkRates& rates) {
  const FrameLayout& frames = plan.layout->frames;
  const std::vector<RankTraffic> traffic = traffic_of(plan);
  std::size_t num_stripes = 0;
  for (const Frame& frame : frames.frames) num_stripes += frame.stripes.size();
  json document{{"checkpoint", plan.checkpoint},
                {"num_tensors", plan.layout->parameters.size()},
                {"tensor_bytes", tensor_bytes(plan)},
                {"largest_tensor", largest_tensor_json(*plan.layout)},
                {"num_ranks", plan.topology.num_ranks},
                {"inference_parallel_size", plan.topology.inference_parallel_size},
                {"packing", frames.striped ? "striped" : "shares"},
                {"num_frames", frames.frames.size()},
                {"frame_bytes", frames.frame_bytes},
                {"num_stripes", num_stripes},
                {"num_slots", plan.num_slots},
                {"slot_bytes", plan.slot_bytes},
                {"buffer_bytes", plan.buffer_bytes()},
                {"ranks", ranks_json(plan, traffic)},
                {"warnings", plan.warnings}};
  if (const Forecast times = forecast(plan, traffic, rates); times.update > 0)
    document["predicted_seconds"] = {{"fill", times.fill}, {"exchange", times.exchange}, {"hand_over", times.handover}, {"update", times.update}};
  return document.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace ckpt
