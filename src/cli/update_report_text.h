/// The closing table of an update, for people.
#pragma once

#include <string>

#include "server/update_report.h"

namespace ckpt {

/// Rates that the stages are held against, measured on this machine in the same run, in bytes per second.
struct StageLimits {
  double memcpy_rate = 0;
};

/// memcpy by as many threads as there are cores, on fresh copies of 32 MiB each: about 20 ms.
[[nodiscard]] StageLimits measure_limits();

[[nodiscard]] std::string report_text(const UpdateReport& report, const StageLimits& limits);

}  // namespace ckpt
