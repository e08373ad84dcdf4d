/// How large frames and stripes are to be, from the settings and the kind of device.
#pragma once

#include <string_view>

#include "base/options.h"
#include "manifest/frame_layout.h"

namespace ckpt {

/// `device_kind`: "host", "cuda", or "auto", which is host memory where there is no other device. In host memory a frame of 32 MiB moves through
/// the processor's caches and its slots are cheap to make; on a GPU a frame is to be large beside the latency of a copy (docs/decisions/0070).
[[nodiscard]] FrameOptions frame_options(const Settings& settings, std::string_view device_kind);

}  // namespace ckpt
