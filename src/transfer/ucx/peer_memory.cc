#define XXH_INLINE_ALL
#include "transfer/ucx/peer_memory.h"

#include <fcntl.h>
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
#include "base/log.h"
#include "os/boot_id.h"
#include "os/error.h"
#include "os/file.h"
#include "os/memory.h"
#include "os/unique_fd.h"

namespace ckpt {
namespace {

constexpr std::size_t kStepBytes = MiB;  // between two looks at the abort signal
constexpr std::size_t kMaxWindows = 4;   // kept mapped of one peer

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

Result<std::unique_ptr<PeerMemory>> PeerMemory::open(const MemoryTicket& ticket) {
  const Result<std::string> boot = boot_id();
  if (!boot.ok() || ticket.host != hash_of(*boot)) return Status(StatusCode::not_found, Scope::peer, "the process is not of this host");
  if (ticket.pid_space != pid_space()) return Status(StatusCode::unsupported, Scope::peer, "process {} is in another PID namespace", ticket.pid);
  std::unique_ptr<PeerMemory> memory(new PeerMemory(ticket));
  if (const Status status = memory->check_fence(); !status.ok()) return Status::of(StatusCode::unsupported, Scope::peer, status.message());
  return memory;
}

Status PeerMemory::check_fence() const {
  std::uint64_t word = 0;
  CKPT_RETURN_IF_ERROR(read_process(ticket_.pid, ticket_.fence_address, std::as_writable_bytes(std::span(&word, 1))));
  if (word == ticket_.fence) return Status::success();
  return {StatusCode::unavailable, Scope::peer, "process {} has ended the exchange", ticket_.pid};
}

Status PeerMemory::read(const MemoryOffer& offer, std::span<std::byte> into, const AbortSignal& abort) {
  const Window window = window_of(offer);
  if (window == nullptr) {
    CKPT_RETURN_IF_ERROR(copy_process(offer.address, into, abort));
    return check_fence();
  }
  for (std::size_t done = 0; done < into.size(); done += kStepBytes) {
    CKPT_RETURN_IF_ERROR(abort.check());
    std::memcpy(into.data() + done, window->data() + offer.window_offset + done, std::min(into.size() - done, kStepBytes));
  }
  return check_fence();
}

Status PeerMemory::copy_process(std::uint64_t address, std::span<std::byte> into, const AbortSignal& abort) const {
  while (!into.empty()) {
    CKPT_RETURN_IF_ERROR(abort.check());
    const std::size_t bytes = std::min(into.size(), kStepBytes);
    CKPT_RETURN_IF_ERROR(read_process(ticket_.pid, address, into.first(bytes)));
    address += bytes;
    into = into.subspan(bytes);
  }
  return Status::success();
}

PeerMemory::Window PeerMemory::window_of(const MemoryOffer& offer) {
  const bool inside = offer.window_offset <= offer.window_bytes && offer.bytes <= offer.window_bytes - offer.window_offset;
  if (offer.window == 0 || !inside) return nullptr;
  const MutexLock lock(mutex_);
  const auto found = windows_.find(offer.window);
  if (found != windows_.end()) return found->second;
  if (windows_.size() >= kMaxWindows) windows_.erase(windows_.begin());  // the oldest number: its buffer is gone, or is mapped again
  Result<Mapping> mapping = map(offer);
  if (!mapping.ok()) log_debug("slots of process {} are read by the system instead of mapped: {}", ticket_.pid, mapping.status().to_string());
  return windows_.emplace(offer.window, mapping.ok() ? std::make_shared<const Mapping>(std::move(mapping).value()) : nullptr).first->second;
}

Result<Mapping> PeerMemory::map(const MemoryOffer& offer) const {
  CKPT_FAULT_POINT("sys.peer_fd");
  const std::string path = fmt::format("/proc/{}/fd/{}", ticket_.pid, offer.window_fd);
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return errno_status(errno, "open " + path);
  // Only what cannot shrink is mapped: a file cut under a reader would end this process.
  const int seals = ::fcntl(fd.get(), F_GET_SEALS);
  CKPT_ASSIGN_OR_RETURN(const std::uint64_t bytes, size_of(fd.get()));
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || bytes < offer.window_bytes)
    return Status(StatusCode::unsupported, Scope::peer, "{} is no sealed memory of {} bytes", path, offer.window_bytes);
  CKPT_ASSIGN_OR_RETURN(Mapping mapping, Mapping::shared(fd.get(), offer.window_bytes, Access::read_only));
  CKPT_RETURN_IF_ERROR(map_pages(mapping.data(), mapping.bytes()));
  return mapping;
}

}  // namespace ckpt
