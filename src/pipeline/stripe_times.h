/// When a stripe's copy and all-gather really ran on a device, which works while the stages' threads go on: for the totals and the timeline.
#pragma once

#include <memory>

#include "base/recorder.h"
#include "device/device.h"

namespace ckpt {

/// Marks of one stripe on the streams of a device; all empty in host memory, where the stages' own clocks tell.
class StripeTimes {
 public:
  /// The places to mark, in this order.
  enum class Mark : std::uint8_t { copy_begins, copy_ends, gather_begins, gather_ends };
  static constexpr std::size_t kNumMarks = 4;

  /// Marks the place that `stream` has reached.
  [[nodiscard]] Status set(Mark mark, DeviceStream& stream);

  /// Until the last mark is reached: it stands a moment behind the end of the all-gather. Nothing in host memory.
  [[nodiscard]] Status wait(Deadline deadline, const AbortSignal& abort);

  struct Spans {
    Duration copy{};
    Duration gather{};
  };
  /// Once the last mark is reached: records both spans in the timeline, each on a track of its own, and returns how long they took.
  [[nodiscard]] Spans take(std::int64_t frame, std::uint64_t copied_bytes, std::uint64_t received_bytes);

 private:
  [[nodiscard]] Duration record(Stage stage, const char* what, Mark begin, Mark end, std::int64_t frame, std::uint64_t bytes);
  std::unique_ptr<DeviceEvent> marks_[kNumMarks];
};

}  // namespace ckpt
