/// An NVIDIA GPU as the device, through the driver API: pinned host memory ─▶ slots in one exported allocation ─▶ the engine, by CUDA IPC.
#pragma once

#include <string>

#include "device/device.h"

namespace ckpt {

struct CudaDeviceOptions {
  int ordinal = 0;   ///< among the GPUs that CUDA_VISIBLE_DEVICES shows
  std::string uuid;  ///< "GPU-…" or "MIG-…": the GPU that has it, instead of `ordinal`; where none has, the key of the `ordinal`th one
};

/// A device in the GPU's primary context, so that it lives beside torch in one process. Its key is the UUID as torch prints it.
///   unsupported        no driver, no GPU; a slice of a GPU (MIG), whose UUID engines name in different ways, without `uuid`
///   invalid_argument   no such ordinal
[[nodiscard]] Result<std::unique_ptr<Device>> make_cuda_device(const CudaDeviceOptions& options);

/// How many GPUs this process sees. unsupported: no driver or no GPU.
[[nodiscard]] Result<int> cuda_device_count();

}  // namespace ckpt
