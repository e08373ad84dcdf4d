// A plan as a table for people.
#include <algorithm>
#include <set>

#include "base/bytes.h"
#include "base/deadline.h"
#include "plan/forecast.h"
#include "plan/plan.h"

namespace ckpt {
namespace {

/// Names come from files: what would steer a terminal is replaced.
std::string shown(std::string_view text) {
  std::string out(text);
  std::replace_if(out.begin(), out.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, '?');
  return out;
}

/// 0.0213 s → "21.3 ms".
std::string time_text(double seconds) { return format_duration(Duration(static_cast<std::int64_t>(std::min(seconds, 9e9) * 1e9))); }

/// Neighbouring ranks that differ in nothing a reader wants to know: one line of the table.
struct RankRow {
  std::uint32_t first;
  std::uint32_t last;
  std::string host;
  std::string engine;  ///< number of the group, or what it does without an engine
  RankTraffic traffic;
};

std::string ranks_text(const RankRow& row) {
  return row.first == row.last ? fmt::format("{}", row.first) : fmt::format("{}-{}", row.first, row.last);
}

std::vector<RankRow> rows_of(const Plan& plan, std::span<const RankTraffic> traffic) {
  const Topology& topology = plan.topology;
  std::vector<RankRow> rows;
  for (std::uint32_t rank = 0; rank < topology.num_ranks; ++rank) {
    const std::uint32_t group = rank / topology.inference_parallel_size;
    RankRow row{rank, rank, topology.hosts.empty() || topology.hosts[rank].empty() ? "-" : shown(topology.hosts[rank]),
                topology.drives_engine[group] ? fmt::format("{}", group) : "none", traffic[rank]};
    if (!rows.empty() && rows.back().host == row.host && rows.back().engine == row.engine && rows.back().traffic == row.traffic)
      rows.back().last = rank;
    else
      rows.push_back(std::move(row));
  }
  return rows;
}

std::string rank_table(const Plan& plan, std::span<const RankTraffic> traffic) {
  const std::vector<RankRow> rows = rows_of(plan, traffic);
  std::size_t host_width = 4;
  for (const RankRow& row : rows) host_width = std::max(host_width, row.host.size());
  constexpr const char* kLine = "{:>10}  {:<{}}  {:>6}  {:>10}  {:>10}  {:>10}\n";
  std::string out = fmt::format(kLine, "ranks", "host", host_width, "engine", "fills", "receives", "hands over");
  for (const RankRow& row : rows)
    out += fmt::format(kLine, ranks_text(row), row.host, host_width, row.engine, format_bytes(row.traffic.filled_bytes),
                       format_bytes(row.traffic.received_bytes), format_bytes(row.traffic.handed_over_bytes));
  return out;
}

std::string counted(std::size_t count, std::string_view what) { return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s"); }

std::string checkpoint_line(const Plan& plan) {
  const auto& parameters = plan.layout->parameters;
  const auto largest =
      std::max_element(parameters.begin(), parameters.end(), [](const Parameter& a, const Parameter& b) { return a.bytes < b.bytes; });
  std::string out =
      fmt::format("checkpoint  {}: {}, {}", shown(plan.checkpoint), counted(parameters.size(), "tensor"), format_bytes(tensor_bytes(plan)));
  if (largest != parameters.end()) out += fmt::format("; largest {} with {}", shown(largest->name), format_bytes(largest->bytes));
  return out + "\n";
}

std::string ranks_line(const Plan& plan) {
  const Topology& topology = plan.topology;
  const std::set<std::string> hosts(topology.hosts.begin(), topology.hosts.end());
  const auto num_driving = static_cast<std::size_t>(std::count(topology.drives_engine.begin(), topology.drives_engine.end(), true));
  std::string out = fmt::format("ranks       {} on {}, {} of {}", topology.num_ranks, counted(std::max<std::size_t>(hosts.size(), 1), "host"),
                                counted(num_driving, "engine"), counted(topology.inference_parallel_size, "worker"));
  if (const std::size_t others = topology.drives_engine.size() - num_driving; others > 0)
    out += fmt::format("; {} without an engine, only to hold and send", counted(others, "group"));
  return out + "\n";
}

std::string frames_line(const Plan& plan) {
  const FrameLayout& frames = plan.layout->frames;
  std::size_t num_stripes = 0;
  std::uint64_t largest_unit = 0;
  for (const Frame& frame : frames.frames) {
    num_stripes += frame.stripes.size();
    for (const Stripe& stripe : frame.stripes)
      for (const std::uint64_t bytes : stripe.unit_bytes) largest_unit = std::max(largest_unit, bytes);
  }
  return fmt::format("frames      {} of at most {}, {}, in {} with units of at most {}\n", frames.frames.size(), format_bytes(frames.frame_bytes),
                     frames.striped ? "striped over all ranks" : "of the shares that ranks hold", counted(num_stripes, "stripe"),
                     format_bytes(largest_unit));
}

std::string forecast_line(const Plan& plan, std::span<const RankTraffic> traffic, const LinkRates& rates) {
  const Forecast times = forecast(plan, traffic, rates);
  if (times.update <= 0) return {};
  std::string out = fmt::format("predicted   {}:", time_text(times.update));
  const auto add = [&](std::string_view stage, double time, double rate) {
    if (time > 0) out += fmt::format(" {} {} at {},", stage, time_text(time), format_rate(static_cast<std::uint64_t>(rate), 1));
  };
  add("fill", times.fill, rates.fill);
  add("exchange", times.exchange, rates.exchange);
  add("hand-over", times.handover, rates.apply);
  out.back() = '\n';
  return out;
}

}  // namespace

std::string plan_text(const Plan& plan, const LinkRates& rates) {
  const std::vector<RankTraffic> traffic = traffic_of(plan);
  std::string out = checkpoint_line(plan) + ranks_line(plan) + frames_line(plan);
  out += fmt::format("slots       {} of {}: {} of device memory on each rank\n", plan.num_slots, format_bytes(plan.slot_bytes),
                     format_bytes(plan.buffer_bytes()));
  out += forecast_line(plan, traffic, rates);
  for (const std::string& warning : plan.warnings) out += "warning     " + warning + "\n";
  return out + "\n" + rank_table(plan, traffic);
}

}  // namespace ckpt
