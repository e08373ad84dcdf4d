/// The GPUs of the machine, their slices, and which of them a process sees.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cuda/settings.h"
#include "device/cuda/cuda_driver.h"

namespace ckpt::fake {

/// A GPU, or one slice of it.
struct VisibleDevice {
  int gpu;
  int slice;  ///< -1: the whole GPU
  CuUuid gpu_uuid;
  CuUuid uuid;  ///< the slice's, where there is one
  std::uint64_t bytes;
  std::string machine;

  [[nodiscard]] std::string name() const;
  [[nodiscard]] std::string pci_bus_id() const;
  /// "0" or "0.2": its memory is accounted under the machine and this.
  [[nodiscard]] std::string place() const;
};

/// Whole GPUs and all slices.
[[nodiscard]] std::vector<VisibleDevice> all_devices(const Settings& settings);
/// Those that CUDA_VISIBLE_DEVICES shows, in its order: up to the first entry that names nothing, and none at all when one is named twice.
[[nodiscard]] std::vector<VisibleDevice> visible_devices(const Settings& settings);

/// "f0fa4e00-0000-4000-8000-000000000000"
[[nodiscard]] std::string uuid_text(const CuUuid& uuid);

}  // namespace ckpt::fake
