/// Memory of another process of this host, read in place: one copy a byte, made by the receiver, out of its own mapping of the owner's memfd where
/// there is one (memcpy), else by process_vm_readv, which runs at half that rate.
///
///   owner    MemoryFence: a random word at a known address; taken down before the owner reuses memory that others may be reading
///   reader   PeerMemory: copies, then reads the word again: still up, so what was copied is what the owner offered
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>

#include "base/bytes.h"
#include "base/thread_annotations.h"
#include "ckpt/result.h"
#include "os/abort_signal.h"
#include "os/shared_memory.h"

namespace ckpt {

/// Where a process can be found, and its fence. Travels between ranks as it lies in memory: only ranks of one host make use of it.
struct MemoryTicket {
  std::uint64_t host = 0;       ///< hash of the boot id; 0: do not read this process
  std::uint64_t pid_space = 0;  ///< its PID namespace
  std::int64_t pid = 0;
  std::uint64_t fence_address = 0;
  std::uint64_t fence = 0;

  [[nodiscard]] Bytes encode() const;
  /// nullopt when the bytes are no ticket.
  [[nodiscard]] static std::optional<MemoryTicket> decode(std::span<const std::byte> bytes);
};

/// Memory that an owner offers. Travels as it lies in memory, to ranks of the same host.
struct MemoryOffer {
  std::uint64_t address = 0;  ///< in the owner's process
  std::uint64_t bytes = 0;
  std::uint64_t window = 0;        ///< number of the registered buffer it lies in, never used twice by one owner; 0: none
  std::uint64_t window_bytes = 0;  ///< that buffer, the start of a memfd
  std::uint64_t window_offset = 0;
  std::int64_t window_fd = -1;  ///< the memfd's number in the owner's process
};

/// The owner's side. Threads: any.
class MemoryFence {
 public:
  MemoryFence();
  ~MemoryFence() { take_down(); }
  MemoryFence(const MemoryFence&) = delete;
  MemoryFence& operator=(const MemoryFence&) = delete;

  /// This process's. Where Yama lets only relatives read (ptrace_scope 1), allows it to this process's parent and all that descend from it: the ranks
  /// that one launcher started.
  [[nodiscard]] MemoryTicket ticket() const;
  /// From now on no read of a peer succeeds, those under way included. For good.
  void take_down() noexcept { word_.store(0); }

 private:
  std::atomic<std::uint64_t> word_;
  std::uint64_t value_;
};

/// The reader's side of one peer. Threads: any.
class PeerMemory {
 public:
  /// Reads the fence once, which proves that the system allows it. not_found: a process of another host, or one that is not to be read;
  /// unsupported: of this host, with the reason why it cannot be read.
  [[nodiscard]] static Result<std::unique_ptr<PeerMemory>> open(const MemoryTicket& ticket);

  /// Copies what is offered into `into`, of the same size. The abort's reason, within a MiB; unavailable: the process is gone, its memory is not
  /// there, or its fence was taken down. After an error `into` holds anything, and nothing writes to it any more.
  [[nodiscard]] Status read(const MemoryOffer& offer, std::span<std::byte> into, const AbortSignal& abort) CKPT_EXCLUDES(mutex_);

 private:
  using Window = std::shared_ptr<const Mapping>;  // shared: a copy may run in it while a later one takes its place
  explicit PeerMemory(const MemoryTicket& ticket) : ticket_(ticket) {}
  [[nodiscard]] Status check_fence() const;
  [[nodiscard]] Status copy_process(std::uint64_t address, std::span<std::byte> into, const AbortSignal& abort) const;
  /// This process's mapping of the window; null where it cannot be had, which is found out once.
  [[nodiscard]] Window window_of(const MemoryOffer& offer) CKPT_EXCLUDES(mutex_);
  [[nodiscard]] Result<Mapping> map(const MemoryOffer& offer) const;

  MemoryTicket ticket_;
  Mutex mutex_;
  std::map<std::uint64_t, Window> windows_ CKPT_GUARDED_BY(mutex_);  // the last few, by number
};

}  // namespace ckpt
