#include "transfer/ucx/host_peers.h"

#include "base/log.h"

namespace ckpt {
namespace {

constexpr const char* kHowToAllow = "ranks of one host need one user, one PID namespace, and process_vm_readv";

}  // namespace

Status HostPeers::find(Group& group, bool allowed, Deadline deadline) {
  const MemoryTicket mine = allowed ? fence_.ticket() : MemoryTicket{};
  CKPT_ASSIGN_OR_RETURN(const std::vector<Bytes> tickets, group.all_gather("memory tickets", mine.encode(), deadline));
  readable_.resize(group.size());
  read_by_.resize(group.size());
  two_copies_ = !allowed;
  const Bytes could_read = allowed ? open_peers(tickets, group.rank()) : Bytes(group.size());
  CKPT_ASSIGN_OR_RETURN(const std::vector<Bytes> readers, group.all_gather("readable ranks", could_read, deadline));
  for (std::uint32_t peer = 0; peer < group.size(); ++peer) {
    read_by_[peer] = readers[peer].size() == group.size() && readers[peer][group.rank()] == std::byte{1};
    any_ = any_ || read_by_[peer] || readable_[peer];
  }
  return Status::success();
}

/// By rank: 1 where this rank reads its memory.
Bytes HostPeers::open_peers(const std::vector<Bytes>& tickets, std::uint32_t rank) {
  Bytes could_read(tickets.size());
  for (std::uint32_t peer = 0; peer < tickets.size(); ++peer) {
    const auto ticket = MemoryTicket::decode(tickets[peer]);
    if (peer == rank || !ticket) continue;
    Result<std::unique_ptr<PeerMemory>> memory = PeerMemory::open(*ticket);
    if (memory.ok()) {
      could_read[peer] = std::byte{1};
      readable_[peer] = std::move(memory).value();
      ++num_readable_;
    } else if (memory.status().code() != StatusCode::not_found) {
      two_copies_ = true;
      log_warning("bytes of rank {}, on this host, are copied twice, since its memory cannot be read: {} ({})", peer, memory.status().message(),
                  kHowToAllow);
    }
  }
  return could_read;
}

bool allows_one_copy(std::string tls) {
  if (tls.empty()) return true;
  const bool excludes = tls.front() == '^';
  if (excludes) tls.erase(0, 1);
  bool names_it = false;
  for (const char* name : {"all", "sm", "shm", "cma"}) names_it = names_it || ("," + tls + ",").find(fmt::format(",{},", name)) != std::string::npos;
  return names_it != excludes;
}

}  // namespace ckpt
