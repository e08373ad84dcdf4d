/// Host memory that was registered (pinned), and what that means for a copy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>

#include "device/cuda/cuda_driver.h"

namespace ckpt::fake {

enum class HostMemory : std::uint8_t {
  pageable,    ///< not registered: a copy has read it when the call returns
  registered,  ///< in one registration: read when the copy runs
  mixed,       ///< partly registered, or in two registrations: refused
};

/// Thread-safe.
class HostRegistry {
 public:
  /// Results are CUDA's: overlapping pages, memory that is not there, and memory that cannot be written unless `read_only`.
  CuResult add(const void* address, std::size_t bytes, bool read_only);
  CuResult remove(const void* address);
  [[nodiscard]] HostMemory look_up(const void* address, std::size_t bytes);

 private:
  std::mutex mutex_;
  std::map<std::uintptr_t, std::uintptr_t> ranges_;  // begin → end
};

}  // namespace ckpt::fake
