#define XXH_INLINE_ALL
#include "transfer/ucx/peer_memory.h"

#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <random>
#include <string_view>

#include "base/fault_point.h"
#include "os/boot_id.h"
#include "os/error.h"
#include "os/file.h"

namespace ckpt {
namespace {

constexpr std::size_t kStepBytes = MiB;  // between two looks at the abort signal

/// Never 0.
std::uint64_t hash_of(std::string_view text) { return XXH3_64bits(text.data(), text.size()) | 1; }

/// Inode of this process's PID namespace; 0 when /proc does not tell.
std::uint64_t pid_space() {
  struct stat space {};
  return ::stat("/proc/self/ns/pid", &space) == 0 ? space.st_ino : 0;
}

/// Yama's scope 1 refuses siblings, unless they descend from a process that was named.
void allow_siblings() {
  const Result<Bytes> scope = read_small_file("/proc/sys/kernel/yama/ptrace_scope");
  if (scope.ok() && as_text(*scope).starts_with('1')) static_cast<void>(::prctl(PR_SET_PTRACER, ::getppid(), 0, 0, 0));
}

/// All of `into`, or an error.
Status read_process(std::int64_t pid, std::uint64_t address, std::span<std::byte> into) {
  CKPT_FAULT_POINT("sys.process_vm_readv");
  const iovec local{into.data(), into.size()};
  const iovec remote{std::bit_cast<void*>(address), into.size()};
  const ssize_t num_read = ::process_vm_readv(static_cast<pid_t>(pid), &local, 1, &remote, 1, 0);
  if (num_read == static_cast<ssize_t>(into.size())) return Status::success();
  const Status cause = errno_status(num_read < 0 ? errno : EFAULT, fmt::format("read memory of process {}", pid));
  return {StatusCode::unavailable, Scope::peer, "{}", cause.message()};
}

}  // namespace

Bytes MemoryTicket::encode() const {
  Bytes bytes(sizeof *this);
  std::memcpy(bytes.data(), this, sizeof *this);
  return bytes;
}

std::optional<MemoryTicket> MemoryTicket::decode(std::span<const std::byte> bytes) {
  MemoryTicket ticket;
  if (bytes.size() != sizeof ticket) return std::nullopt;
  std::memcpy(&ticket, bytes.data(), sizeof ticket);
  return ticket;
}

MemoryFence::MemoryFence() {
  std::random_device random;
  value_ = std::uint64_t{random()} << 32 | random() | 1;
  word_.store(value_);
}

MemoryTicket MemoryFence::ticket() const {
  const Result<std::string> boot = boot_id();
  if (!boot.ok()) return {};
  allow_siblings();
  return {hash_of(*boot), pid_space(), ::getpid(), std::bit_cast<std::uint64_t>(&word_), value_};
}

Result<PeerMemory> PeerMemory::open(const MemoryTicket& ticket) {
  const Result<std::string> boot = boot_id();
  if (!boot.ok() || ticket.host != hash_of(*boot)) return Status(StatusCode::not_found, Scope::peer, "the process is not of this host");
  if (ticket.pid_space != pid_space()) return Status(StatusCode::unsupported, Scope::peer, "process {} is in another PID namespace", ticket.pid);
  PeerMemory memory(ticket);
  if (const Status status = memory.check_fence(); !status.ok()) return Status::of(StatusCode::unsupported, Scope::peer, status.message());
  return memory;
}

Status PeerMemory::check_fence() const {
  std::uint64_t word = 0;
  CKPT_RETURN_IF_ERROR(read_process(ticket_.pid, ticket_.fence_address, std::as_writable_bytes(std::span(&word, 1))));
  if (word == ticket_.fence) return Status::success();
  return {StatusCode::unavailable, Scope::peer, "process {} has ended the exchange", ticket_.pid};
}

Status PeerMemory::read(std::uint64_t address, std::span<std::byte> into, const AbortSignal& abort) const {
  while (!into.empty()) {
    CKPT_RETURN_IF_ERROR(abort.check());
    const std::size_t bytes = std::min(into.size(), kStepBytes);
    CKPT_RETURN_IF_ERROR(read_process(ticket_.pid, address, into.first(bytes)));
    address += bytes;
    into = into.subspan(bytes);
  }
  return check_fence();
}

}  // namespace ckpt
