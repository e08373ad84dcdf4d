/// The slots of another process on a GPU, opened by their CUDA IPC handle: how a worker of our own engine, whose weights are in host memory, reads
/// them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/deadline.h"
#include "ckpt/result.h"
#include "os/abort_signal.h"

namespace ckpt {

/// Owns the mapping, and holds its GPU's primary context. Threads: one at a time.
class PeerBuffer {
 public:
  virtual ~PeerBuffer() = default;
  /// Opens `handle`, 64 bytes, of memory on the GPU `device_key` ("GPU-…"; this process must see it).
  ///   unsupported       no driver or no GPU     not_found          none of the GPUs that this process sees is `device_key`
  ///   data_corruption   no handle's length      internal           CUDA cannot open it: its text
  [[nodiscard]] static Result<std::unique_ptr<PeerBuffer>> open(const std::string& device_key, std::string_view handle);

  /// Copies destination.size() bytes from `offset_bytes` on into memory that is not registered: CUDA is done with it when this returns, whatever
  /// happened. internal (CUDA's text) also where the buffer is shorter.
  [[nodiscard]] virtual Status copy_to_host(std::span<std::byte> destination, std::uint64_t offset_bytes, Deadline deadline,
                                            const AbortSignal& abort) = 0;
};

}  // namespace ckpt
