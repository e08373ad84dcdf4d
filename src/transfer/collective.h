/// Weight bytes between ranks. Control traffic never goes here. Implementations: UCX (host memory, transfer/ucx), NCCL (GPUs).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/deadline.h"
#include "ckpt/result.h"
#include "device/device.h"
#include "os/abort_signal.h"
#include "rendezvous/group.h"

namespace ckpt {

/// An operation under way. Ends exactly once: done, failed, cancelled. Memory given to it is in use until then; a Work that the library cannot
/// cancel keeps it until the Collective is destroyed, and says so ("quarantined").
class Work {
 public:
  virtual ~Work() = default;
  /// Waits for the end. deadline_exceeded leaves it running: abort the Collective then. unavailable (peer) names the rank.
  [[nodiscard]] virtual Status wait(Deadline deadline, const AbortSignal& abort) = 0;
  [[nodiscard]] virtual bool done() const = 0;
  /// When it ended, in nanoseconds of CLOCK_REALTIME, once wait() was ok; nothing where that is not known.
  [[nodiscard]] virtual std::optional<std::int64_t> ended_at_ns() const { return std::nullopt; }
};

/// One group of ranks in one epoch. Operations start in the same order on all ranks and may overlap. Threads: one starts operations; `abort` from
/// any.
class Collective {
 public:
  virtual ~Collective() = default;

  /// Waits until all ranks are connected, where that goes on in the background; before the first operation.
  [[nodiscard]] virtual Status connected(Deadline, const AbortSignal&) { return Status::success(); }
  /// In-place all-gather of adjacent units: rank r's `unit_bytes[r]` lie after those of the ranks before it, from `base` on. On entry this rank's own
  /// unit is filled (on devices: by the work before it on `stream`); at the end all are. Units may be of different sizes, and empty.
  [[nodiscard]] virtual Result<std::unique_ptr<Work>> all_gather(std::byte* base, std::span<const std::uint64_t> unit_bytes,
                                                                 DeviceStream* stream) = 0;
  /// `buffer` of `root` to everyone.
  [[nodiscard]] virtual Result<std::unique_ptr<Work>> broadcast(std::span<std::byte> buffer, std::uint32_t root, DeviceStream* stream) = 0;
  /// Makes a buffer known once, so that no operation on it registers memory. Must outlive its use; idempotent. `fd`: the memfd whose start it maps,
  /// which ranks of this host may map too; -1: none.
  [[nodiscard]] virtual Status register_buffer(std::span<std::byte> buffer, int fd) = 0;
  virtual void unregister_buffer(std::span<std::byte> buffer) noexcept = 0;

  /// Ends all waits, from any thread; afterwards every call returns `reason`, and the object is only good for destruction. Operations end with it at
  /// the latest (NCCL's do then), so buffers outlive it.
  virtual void abort(const Status& reason) noexcept = 0;
  /// The lane in use, for the log and the report: "ucx tcp", "ucx posix+cma", "nccl 2.28.9", "none".
  [[nodiscard]] virtual std::string lane() const = 0;
};

/// For a group of one: every operation is done at once.
[[nodiscard]] std::unique_ptr<Collective> solitary_collective();

}  // namespace ckpt
