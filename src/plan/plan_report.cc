#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/bytes.h"
#include "plan/plan.h"

namespace ckpt {
namespace {

struct Totals {
  std::uint64_t tensor_bytes = 0;
  std::uint64_t largest_bytes = 0;
  std::string largest_name;
  std::uint64_t total_bytes = 0;
  std::uint64_t most_share = 0;
  std::uint64_t least_share = 0;
  std::size_t num_stripes = 0;
  std::uint32_t num_driving = 0;
};

Totals totals_of(const Plan& plan) {
  Totals t;
  const FrameLayout& frames = plan.layout->frames;
  for (const Parameter& p : plan.layout->parameters) {
    t.tensor_bytes += p.bytes;
    if (p.bytes > t.largest_bytes) {
      t.largest_bytes = p.bytes;
      t.largest_name = p.name;
    }
  }
  t.total_bytes = frames.total_bytes();
  t.least_share = ~std::uint64_t{0};
  for (std::uint32_t rank = 0; rank < frames.num_ranks; ++rank) {
    t.most_share = std::max(t.most_share, frames.bytes_of(rank));
    t.least_share = std::min(t.least_share, frames.bytes_of(rank));
  }
  for (const Frame& frame : frames.frames) t.num_stripes += frame.stripes.size();
  t.num_driving = static_cast<std::uint32_t>(std::count(plan.topology.drives_engine.begin(), plan.topology.drives_engine.end(), true));
  return t;
}

/// The stages overlap, so the slowest one decides; the first frame passes through all three.
double predicted_seconds(const Totals& t, const LinkRates& rates) {
  const auto time = [](std::uint64_t bytes, double rate) { return rate > 0 ? static_cast<double>(bytes) / rate : 0.0; };
  return std::max({time(t.most_share, rates.fill), time(t.total_bytes - t.least_share, rates.exchange), time(t.tensor_bytes, rates.apply)});
}

}  // namespace

std::string plan_text(const Plan& plan, const LinkRates& rates) {
  const Totals t = totals_of(plan);
  const Topology& topology = plan.topology;
  const auto num_hosts = std::set<std::string>(topology.hosts.begin(), topology.hosts.end()).size();
  std::string out;
  out += fmt::format("checkpoint   {} tensors, {}; largest {} ({})\n", plan.layout->parameters.size(), format_bytes(t.tensor_bytes),
                     t.largest_name.empty() ? "-" : t.largest_name, format_bytes(t.largest_bytes));
  out += fmt::format("ranks        {} on {} host(s), in {} group(s) of {}; {} group(s) drive an engine\n", topology.num_ranks,
                     std::max<std::size_t>(num_hosts, 1), topology.drives_engine.size(), topology.inference_parallel_size, t.num_driving);
  out += fmt::format("shares       {}: {} to {} on a rank\n", plan.layout->frames.striped ? "striped" : "as given", format_bytes(t.least_share),
                     format_bytes(t.most_share));
  out += fmt::format("frames       {} of at most {}, {} stripes\n", plan.layout->frames.frames.size(), format_bytes(plan.layout->frames.frame_bytes),
                     t.num_stripes);
  out += fmt::format("slots        {} x {} = {} of device memory on each rank\n", plan.num_slots, format_bytes(plan.slot_bytes),
                     format_bytes(plan.buffer_bytes()));
  out += fmt::format("per rank     {} from its pool, {} received from other ranks, {} handed over\n", format_bytes(t.most_share),
                     format_bytes(t.total_bytes - t.least_share), format_bytes(t.tensor_bytes));
  const double time = predicted_seconds(t, rates);
  if (time > 0) out += fmt::format("predicted    {:.3f} s\n", time);
  for (const std::string& warning : plan.warnings) out += "warning      " + warning + "\n";
  return out;
}

std::string plan_json(const Plan& plan, const LinkRates& rates) {
  const Totals t = totals_of(plan);
  const FrameLayout& frames = plan.layout->frames;
  nlohmann::json shares = nlohmann::json::array();
  for (std::uint32_t rank = 0; rank < frames.num_ranks; ++rank) shares.push_back(frames.bytes_of(rank));
  nlohmann::json document{{"tensors", plan.layout->parameters.size()},
                          {"tensor_bytes", t.tensor_bytes},
                          {"largest_tensor", {{"name", t.largest_name}, {"bytes", t.largest_bytes}}},
                          {"ranks", plan.topology.num_ranks},
                          {"inference_parallel_size", plan.topology.inference_parallel_size},
                          {"drives_engine", plan.topology.drives_engine},
                          {"striped", frames.striped},
                          {"share_bytes", shares},
                          {"frames", frames.frames.size()},
                          {"frame_bytes", frames.frame_bytes},
                          {"stripes", t.num_stripes},
                          {"slots", plan.num_slots},
                          {"slot_bytes", plan.slot_bytes},
                          {"buffer_bytes", plan.buffer_bytes()},
                          {"received_bytes_per_rank", t.total_bytes - t.least_share},
                          {"warnings", plan.warnings}};
  if (const double time = predicted_seconds(t, rates); time > 0) document["predicted_seconds"] = time;
  return document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace ckpt
