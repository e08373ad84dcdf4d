#include "cli/update_report_text.h"

#include <cstring>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/bytes.h"
#include "os/threads.h"

namespace ckpt {
namespace {

/// Stages whose limit is a copy in host memory.
bool copies_memory(Stage stage) { return stage == Stage::fill || stage == Stage::exchange || stage == Stage::handover; }

std::string share_of_limit(Stage stage, const StageReport& report, const StageLimits& limits) {
  if (!copies_memory(stage) || report.seconds <= 0 || limits.memcpy_rate <= 0 || report.bytes == 0) return "-";
  return fmt::format("{:.0f} %", static_cast<double>(report.bytes) / report.seconds / limits.memcpy_rate * 100);
}

}  // namespace

StageLimits measure_limits() {
  constexpr std::size_t kBytes = 32 * MiB;
  const unsigned threads = usable_cores();
  std::vector<Bytes> sources(threads, Bytes(kBytes, std::byte{1}));
  std::vector<Bytes> destinations(threads, Bytes(kBytes, std::byte{2}));
  const TimePoint begin = Clock::real().now();
  static_cast<void>(parallel_for(threads, threads, [&](std::size_t i) {
    std::memcpy(destinations[i].data(), sources[i].data(), kBytes);
    return Status::success();
  }));
  return {static_cast<double>(kBytes * threads) / seconds(Clock::real().now() - begin)};
}

std::string report_text(const UpdateReport& r, const StageLimits& limits) {
  std::string out = fmt::format("{} tensors, {} -> {} engine(s) by {} rank(s) over {}; version {}\n", r.num_tensors, format_bytes(r.checkpoint_bytes),
                                r.num_engines, r.num_ranks, r.lane, r.version);
  out += fmt::format("{} frame(s), {} slot(s) of {}; bytes {}\n\n", r.num_frames, r.num_slots, format_bytes(r.slot_bytes),
                     r.verified ? "verified by the receivers" : "not verified (give --verify)");
  out += fmt::format("{:<10} {:>10} {:>10} {:>12} {:>10}\n", "stage", "bytes", "seconds", "rate", "of memcpy");
  for (std::size_t i = 0; i < kNumStages; ++i) {
    const StageReport& stage = r.stages[i];
    out += fmt::format("{:<10} {:>10} {:>10.3f} {:>12} {:>10}\n", name(static_cast<Stage>(i)), stage.bytes > 0 ? format_bytes(stage.bytes) : "-",
                       stage.seconds, stage.bytes > 0 ? format_rate(stage.bytes, stage.seconds) : "-",
                       share_of_limit(static_cast<Stage>(i), stage, limits));
  }
  out += fmt::format("{:<10} {:>10} {:>10.3f} {:>12}\n", "update", format_bytes(r.checkpoint_bytes), r.seconds,
                     format_rate(r.checkpoint_bytes, r.seconds));
  out += fmt::format("\nbytes of all ranks, seconds of the slowest; fill, exchange and hand-over overlap; memcpy by all cores: {:.2f} GB/s\n",
                     limits.memcpy_rate / 1e9);
  for (const std::string& note : r.notes) out += "note: " + note + "\n";
  return out;
}

}  // namespace ckpt
