/// Memory of another process of this host, read in place: one copy a byte, made by the receiver (process_vm_readv).
///
///   owner    MemoryFence: a random word at a known address; taken down before the owner reuses memory that others may be reading
///   reader   PeerMemory: copies, then reads the word again: still up, so what was copied is what the owner offered
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/bytes.h"
#include "ckpt/result.h"
#include "os/abort_signal.h"

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
  [[nodiscard]] static Result<PeerMemory> open(const MemoryTicket& ticket);

  /// Copies `into.size()` bytes from `address` there. The abort's reason, within a MiB; unavailable: the process is gone, its memory is not there, or
  /// its fence was taken down. After an error `into` holds anything, and nothing writes to it any more.
  [[nodiscard]] Status read(std::uint64_t address, std::span<std::byte> into, const AbortSignal& abort) const;

 private:
  explicit PeerMemory(const MemoryTicket& ticket) : ticket_(ticket) {}
  [[nodiscard]] Status check_fence() const;
  MemoryTicket ticket_;
};

}  // namespace ckpt
