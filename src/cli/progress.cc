#include "cli/progress.h"

#include <algorithm>
#include <cstdio>
#include <string>

#include "base/bytes.h"

namespace ckpt {
namespace {

constexpr std::int64_t kBarInterval = 100'000'000;
constexpr std::int64_t kLineInterval = 5'000'000'000;
constexpr int kBarWidth = 24;

std::string bar(double share) {
  const int filled = static_cast<int>(share * kBarWidth);
  return "[" + std::string(static_cast<std::size_t>(filled), '#') + std::string(static_cast<std::size_t>(kBarWidth - filled), '.') + "]";
}

}  // namespace

Progress::Progress(Mode mode) : mode_(mode) {}

Progress::~Progress() {
  const MutexLock lock(mutex_);
  if (open_line_) std::fprintf(stderr, "\n");
}

void Progress::update(Stage stage, std::uint64_t done_bytes, std::uint64_t total_bytes) {
  if (mode_ == Mode::silent || total_bytes == 0) return;
  const std::int64_t now = wall_time_ns();
  const MutexLock lock(mutex_);
  StageState& state = stages_[static_cast<std::size_t>(stage)];
  if (state.begin_ns == 0) state.begin_ns = state.printed_ns = now;
  const bool ended = done_bytes >= total_bytes;
  if (state.ended || (!ended && now - state.printed_ns < (mode_ == Mode::bars ? kBarInterval : kLineInterval))) return;
  state.printed_ns = now;
  state.ended = ended;
  const double seconds = static_cast<double>(now - state.begin_ns) / 1e9;
  const double share = std::min(static_cast<double>(done_bytes) / static_cast<double>(total_bytes), 1.0);
  const std::string left = ended || share <= 0 ? "" : fmt::format(", {:.0f} s left", seconds / share * (1 - share));
  const std::string text =
      fmt::format("{:<10} {:>4.0f} % of {}, {}{}", name(stage), share * 100, format_bytes(total_bytes), format_rate(done_bytes, seconds), left);
  if (mode_ == Mode::bars) {
    std::fprintf(stderr, "\r\033[K%s %s%s", bar(share).c_str(), text.c_str(), ended ? "\n" : "");
    open_line_ = !ended;
  } else {
    std::fprintf(stderr, "%s\n", text.c_str());
  }
}

}  // namespace ckpt
