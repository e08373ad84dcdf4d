/// Which GPU of this process is which: by number, and by the UUID that engines name it by.
#pragma once

#include <string>

#include "device/cuda/cuda_driver.h"

namespace ckpt {

struct CudaIdentity {
  CuDevice device;
  std::string uuid;  ///< "GPU-…" as torch prints it, or "MIG-…" of a slice
  bool slice;        ///< of a divided GPU (MIG)
};

/// The `ordinal`th GPU that CUDA_VISIBLE_DEVICES shows. internal: CUDA's own error.
[[nodiscard]] Result<CudaIdentity> identify_cuda_device(const CudaDriver& cuda, int ordinal);
/// PCI bus id as CUDA prints it ("0000:1B:00.0"); empty where it does not tell.
[[nodiscard]] std::string pci_bus_id_of(const CudaDriver& cuda, CuDevice device);

}  // namespace ckpt
