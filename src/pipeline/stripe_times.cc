#include "pipeline/stripe_times.h"

namespace ckpt {
namespace {

/// Numbers of the timeline's tracks for a device's work; threads have large ones.
constexpr std::uint64_t kCopyTrack = 1;
constexpr std::uint64_t kGatherTrack = 2;

}  // namespace

Status StripeTimes::set(Mark mark, DeviceStream& stream) {
  CKPT_ASSIGN_OR_RETURN(marks_[static_cast<std::size_t>(mark)], stream.record());
  return Status::success();
}

Status StripeTimes::wait(Deadline deadline, const AbortSignal& abort) {
  const auto& last = marks_[static_cast<std::size_t>(Mark::gather_ends)];
  return last ? last->wait(deadline, abort) : Status::success();
}

StripeTimes::Spans StripeTimes::take(std::int64_t frame, std::uint64_t copied_bytes, std::uint64_t received_bytes) {
  return {record(Stage::fill, "copy on the GPU", Mark::copy_begins, Mark::copy_ends, frame, copied_bytes),
          record(Stage::exchange, "all-gather on the GPU", Mark::gather_begins, Mark::gather_ends, frame, received_bytes)};
}

Duration StripeTimes::record(Stage stage, const char* what, Mark begin, Mark end, std::int64_t frame, std::uint64_t bytes) {
  const auto& first = marks_[static_cast<std::size_t>(begin)];
  const auto& last = marks_[static_cast<std::size_t>(end)];
  if (!first || !last) return {};
  const auto from = first->reached_at_ns();
  const auto to = last->reached_at_ns();
  if (!from || !to) return {};
  EventRecorder::global().record({stage, what, frame, bytes, *from, *to, stage == Stage::fill ? kCopyTrack : kGatherTrack});
  return Duration(*to - *from);
}

}  // namespace ckpt
