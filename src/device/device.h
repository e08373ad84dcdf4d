/// Memory that an inference engine can map, and the copies into it. Host memory here (device/host); CUDA is the second implementation.
/// The interface is shaped by the GPU: copies are asynchronous on a stream, completion is an event, the buffer is exported once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/deadline.h"
#include "ckpt/result.h"
#include "os/abort_signal.h"
#include "os/shared_memory.h"

namespace ckpt {

/// Marks a point of a stream. One event per use. Movable, not shared.
class DeviceEvent {
 public:
  virtual ~DeviceEvent() = default;
  /// Whether the work before the event has ended; the first error of that work otherwise.
  [[nodiscard]] virtual Result<bool> done() = 0;
  /// Waits for it. deadline_exceeded, the abort's reason, or the error of the work.
  [[nodiscard]] virtual Status wait(Deadline deadline, const AbortSignal& abort) = 0;
  /// When it was reached, in nanoseconds of CLOCK_REALTIME, on devices with a clock of their own; nothing on the host or before it is done.
  [[nodiscard]] virtual std::optional<std::int64_t> reached_at_ns() { return std::nullopt; }
};

/// A row of work done in order; different streams run at the same time. One thread at a time.
class DeviceStream {
 public:
  virtual ~DeviceStream() = default;
  /// Queues a copy of `source.size()` bytes from host memory to `destination` (device address). `source` must stay until an event after it.
  [[nodiscard]] virtual Status copy_from_host(std::byte* destination, std::span<const std::byte> source) = 0;
  /// Queues a copy of `destination.size()` bytes from `source` (device address) to host memory, which must stay until an event after it. For what
  /// callers register: weights in slots are never read back.
  [[nodiscard]] virtual Status copy_to_host(std::span<std::byte> destination, const std::byte* source) = 0;
  /// Queues a wait for `event` of another stream: what follows here runs after it.
  [[nodiscard]] virtual Status wait_for(DeviceEvent& event) = 0;
  [[nodiscard]] virtual Result<std::unique_ptr<DeviceEvent>> record() = 0;
  /// The native stream for libraries that take one (cudaStream_t); null on the host.
  [[nodiscard]] virtual void* native() = 0;
};

/// How another process maps a DeviceBuffer. Exactly one of the two is set.
struct ExportedBuffer {
  std::string cuda_ipc_handle;  ///< 64 raw bytes of a cudaIpcMemHandle_t, or empty
  int fd = -1;                  ///< borrowed: a memfd of `bytes`, to be passed by SCM_RIGHTS; valid while the buffer lives
  std::uint64_t bytes = 0;
};

/// One exported allocation that holds all slots. Freed when it ends; peers that still map it keep the pages (host) or must have closed it (CUDA).
class DeviceBuffer {
 public:
  virtual ~DeviceBuffer() = default;
  [[nodiscard]] virtual std::byte* data() = 0;  ///< device address; on the host an ordinary pointer
  [[nodiscard]] virtual std::uint64_t bytes() const = 0;
  [[nodiscard]] virtual ExportedBuffer exported() const = 0;
};

struct DeviceMemory {
  std::uint64_t free_bytes;
  std::uint64_t total_bytes;
};

/// One device of this rank. Thread-safe. Must outlive its streams, events and buffers.
class Device {
 public:
  virtual ~Device() = default;
  [[nodiscard]] virtual std::string_view kind() const = 0;   ///< "host" or "cuda"
  [[nodiscard]] virtual const std::string& key() const = 0;  ///< key in the engines' handle map: "HOST-<boot id>-<global rank>", "GPU-<uuid>"
  [[nodiscard]] virtual bool host_addressable() const = 0;   ///< whether data() may be dereferenced by this process
  [[nodiscard]] virtual Result<DeviceMemory> memory() const = 0;
  [[nodiscard]] virtual Result<std::unique_ptr<DeviceStream>> create_stream() = 0;
  /// `bytes` is a multiple of 256, > 0. resource_exhausted says how much is missing. On the host: a memfd, populated in parallel.
  [[nodiscard]] virtual Result<std::unique_ptr<DeviceBuffer>> allocate(std::uint64_t bytes) = 0;
  /// Makes resident host memory known to the device so that copies from it are fast; whole pages, `access` as it is mapped. A copy's source must not
  /// reach from one registration into another. Unregister the same piece before unmapping it. Nothing on the host.
  [[nodiscard]] virtual Status register_host(std::span<std::byte> memory, Access access) = 0;
  virtual void unregister_host(std::span<std::byte> memory) noexcept = 0;
  /// Makes this the current device of the calling thread, for libraries that ask which one it is (NCCL). Nothing on the host.
  [[nodiscard]] virtual Status use_on_this_thread() = 0;
  /// Where it is plugged in, "0000:3b:00.0": tells its NUMA node. Empty on the host.
  [[nodiscard]] virtual std::string pci_bus_id() const = 0;
};

}  // namespace ckpt
