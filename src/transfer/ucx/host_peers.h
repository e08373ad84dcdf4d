/// Which ranks read each other's memory in place: those of one host, where the system lets them. Found once, before any bytes move.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "rendezvous/group.h"
#include "transfer/ucx/peer_memory.h"

namespace ckpt {

/// Threads: find() by one, before all else; then any.
class HostPeers {
 public:
  /// Collective. Two rounds: the second says who could read whom, so that owner and receiver take the same way. `allowed` is this rank's own will.
  /// Warns where a rank of this host cannot be read, with the reason.
  [[nodiscard]] Status find(Group& group, bool allowed, Deadline deadline);

  /// Null where `peer` cannot be read.
  [[nodiscard]] PeerMemory* memory(std::uint32_t peer) const { return readable_[peer].get(); }
  [[nodiscard]] bool read_by(std::uint32_t peer) const { return read_by_[peer]; }
  [[nodiscard]] unsigned num_readable() const { return num_readable_; }
  [[nodiscard]] bool any() const { return any_; }  ///< in either direction
  /// Whether UCX carries large messages of ranks of this host to this one.
  [[nodiscard]] bool two_copies() const { return two_copies_; }
  /// From now on nobody reads this rank. For good.
  void take_fence_down() noexcept { fence_.take_down(); }

 private:
  [[nodiscard]] Bytes open_peers(const std::vector<Bytes>& tickets, std::uint32_t rank);

  MemoryFence fence_;
  std::vector<std::unique_ptr<PeerMemory>> readable_;  // by rank: whose memory this rank reads
  std::vector<bool> read_by_;                          // by rank: who reads this rank's
  unsigned num_readable_ = 0;
  bool any_ = false;
  bool two_copies_ = false;
};

/// Whether a choice of transports (UCX_TLS; empty: none made) lets ranks read each other's memory. Whoever pins UCX to some (a test of TCP, a site)
/// gets those alone: CMA only if it is among them.
[[nodiscard]] bool allows_one_copy(std::string tls);

}  // namespace ckpt
