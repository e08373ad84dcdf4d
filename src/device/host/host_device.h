/// Host memory as the device: slots are memfds that workers map. The backend of machines without GPUs, and the one that all others agree with.
#pragma once

#include "device/device.h"

namespace ckpt {

struct HostDeviceOptions {
  int rank = 0;               ///< global rank, for the key
  unsigned copy_threads = 0;  ///< threads that carry out the copies of all streams; 0: as many as this process may use cores, at most 4
};

/// A device of this host's memory. internal or not_found when the boot id cannot be read.
[[nodiscard]] Result<std::unique_ptr<Device>> make_host_device(const HostDeviceOptions& options);

}  // namespace ckpt
