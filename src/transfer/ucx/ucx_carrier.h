/// Moves one buffer from a rank to another: what the collectives' patterns are made of.
///
///   small, or another host    a tagged UCX message
///   large, same host          owner ──offer {address, bytes}──▶ receiver copies out of the owner's memory ──answer──▶ owner
///
/// UCX 1.13 leaves CMA out as soon as errors of peers are to be reported, and its shared-memory FIFO crawls with more ranks than cores: hence the
/// second way (docs/decisions/0031).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "rendezvous/group.h"
#include "transfer/ucx/copy_threads.h"
#include "transfer/ucx/host_peers.h"
#include "transfer/ucx/plugin/ucx_abi.h"
#include "transfer/ucx/ucx_collective.h"

namespace ckpt {

inline constexpr std::uint32_t kMaxRanks = 4096;

/// Both sides name the same tag, at most 62 bits, never used twice; its lowest 12 bits are the sender's rank. `ended` is called exactly once, from a
/// thread of the carrier; it must not block.
struct UcxTransfer {
  bool is_receive;
  std::uint32_t peer;
  std::uint64_t tag;
  std::byte* buffer;
  std::uint64_t bytes;
  std::function<void(const Status&)> ended;
};

/// Threads: any may start and abort; the rest one at a time.
class UcxCarrier {
 public:
  UcxCarrier() = default;
  ~UcxCarrier();  ///< ends what runs
  UcxCarrier(const UcxCarrier&) = delete;
  UcxCarrier& operator=(const UcxCarrier&) = delete;

  /// Collective, once: addresses and tickets travel through the group. unsupported: no plug-in, or no UCX.
  [[nodiscard]] Status connect(Group& group, const UcxOptions& options, Deadline deadline);
  void start(std::vector<UcxTransfer> transfers);
  [[nodiscard]] Status register_buffer(std::span<std::byte> buffer, int fd) CKPT_EXCLUDES(windows_mutex_);
  void unregister_buffer(std::span<std::byte> buffer) noexcept CKPT_EXCLUDES(windows_mutex_);
  void abort(const Status& reason) noexcept;
  [[nodiscard]] Status aborted() const { return aborted_.check(); }
  [[nodiscard]] const std::string& lane() const { return lane_; }

 private:
  struct Running;
  struct Message;
  struct Window {
    std::uint64_t number;
    std::span<std::byte> buffer;
    int fd;
  };

  [[nodiscard]] Status connect_ucx(Group& group, const std::string& tls, bool tls_is_fixed, Deadline deadline);
  [[nodiscard]] Status greet(Group& group, Deadline deadline);
  [[nodiscard]] bool copies_once(const UcxTransfer& transfer) const;
  [[nodiscard]] MemoryOffer offer_of(const UcxTransfer& transfer) CKPT_EXCLUDES(windows_mutex_);
  void add_messages(std::vector<CkptUcxOp>& ops, UcxTransfer transfer);
  void copy(const std::shared_ptr<Running>& running);
  void message_ended(const Message& message, const Status& status);
  [[nodiscard]] Status status_of(int outcome, std::uint32_t peer, const char* text) const;
  static void on_done(void* user, int outcome, std::uint32_t peer, const char* text);

  const CkptUcxApi* api_ = nullptr;
  CkptUcx* ucx_ = nullptr;
  std::uint32_t rank_ = 0;
  std::string lane_;
  AbortSignal aborted_;
  HostPeers peers_;
  std::optional<CopyThreads> copiers_;
  Mutex windows_mutex_;
  std::vector<Window> windows_ CKPT_GUARDED_BY(windows_mutex_);  // registered buffers that peers of this host may map
  std::uint64_t last_window_ CKPT_GUARDED_BY(windows_mutex_) = 0;
};

}  // namespace ckpt
