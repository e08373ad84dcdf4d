#include "pipeline/stripe_marks.h"

namespace ckpt {
namespace {

/// Numbers of the timeline's tracks for a device's work; threads have large ones.
constexpr std::uint64_t kCopyTrack = 1;
constexpr std::uint64_t kGatherTrack = 2;

}  // namespace

Duration record_device_span(Stage stage, const char* what, std::int64_t frame, std::uint64_t bytes, std::optional<std::int64_t> begin_ns,
                            std::optional<std::int64_t> end_ns) {
  if (!begin_ns || !end_ns) return {};
  EventRecorder::global().record({stage, what, frame, bytes, *begin_ns, *end_ns, stage == Stage::fill ? kCopyTrack : kGatherTrack});
  return Duration(*end_ns - *begin_ns);
}

}  // namespace ckpt
