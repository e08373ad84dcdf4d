/// Where a stripe stands on the streams of a device, which works while the stages' threads go on.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "base/deadline.h"
#include "base/recorder.h"
#include "device/device.h"

namespace ckpt {

/// In host memory `copied` alone is set: there the stages' own clocks tell the rest.
struct StripeMarks {
  std::unique_ptr<DeviceEvent> copy_begins;
  std::unique_ptr<DeviceEvent> copied;
  std::unique_ptr<DeviceEvent> gather_begins;
};

/// Records a span of the device's own work in the timeline, fill and exchange each on a track of its own, and returns how long it took: zero, and no
/// span, where one of its ends (nanoseconds of CLOCK_REALTIME) is not known.
Duration record_device_span(Stage stage, const char* what, std::int64_t frame, std::uint64_t bytes, std::optional<std::int64_t> begin_ns,
                            std::optional<std::int64_t> end_ns);

}  // namespace ckpt
