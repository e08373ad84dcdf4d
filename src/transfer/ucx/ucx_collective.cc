#include "transfer/ucx/ucx_collective.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/check.h"
#include "base/log.h"
#include "base/thread_annotations.h"
#include "os/wait_fd.h"
#include "transfer/ucx/ucx_plugin_loader.h"

#include <poll.h>

namespace ckpt {
namespace {

constexpr std::size_t kMaxAddressBytes = 16 * 1024;

/// One collective operation: a number of messages, and what to do when one of them ends. Kept alive by the caller and by each message under way.
class UcxWork final : public Work {
 public:
  explicit UcxWork(std::size_t messages) : left_(messages) {
    if (messages == 0) finished_.trigger_from_signal_handler();
  }

  [[nodiscard]] Status wait(Deadline deadline, const AbortSignal& abort) override {
    if (!finished_.triggered()) CKPT_RETURN_IF_ERROR(wait_until_ready(finished_.fd(), POLLIN, deadline, abort, "bytes from another rank"));
    const MutexLock lock(mutex_);
    return failure_;
  }
  [[nodiscard]] bool done() const override { return finished_.triggered(); }

  void message_ended(const Status& status) CKPT_EXCLUDES(mutex_) {
    if (!status.ok()) {
      const MutexLock lock(mutex_);
      if (failure_.ok()) failure_ = status;
    }
    if (left_.fetch_sub(1) == 1) finished_.trigger_from_signal_handler();
  }

 private:
  std::atomic<std::size_t> left_;
  AbortSignal finished_;  // its descriptor ends the wait
  mutable Mutex mutex_;
  Status failure_ CKPT_GUARDED_BY(mutex_);
};

class UcxCollective;

/// What the plug-in gives back when a message has ended; deleted then.
struct Message {
  std::shared_ptr<UcxWork> work;  // shared: the caller may drop its Work while messages are under way
  UcxCollective* collective;
  CkptUcxOp then{};  // a message to start after this one (the next hop of a chain)
  bool has_then = false;
};

class UcxCollective final : public Collective {
 public:
  UcxCollective(const CkptUcxApi& api, std::uint32_t rank, std::uint32_t num_ranks, std::uint64_t chunk_bytes)
      : api_(api), rank_(rank), num_ranks_(num_ranks), chunk_bytes_(chunk_bytes) {}
  ~UcxCollective() override {
    if (ucx_ == nullptr) return;
    aborted_.trigger(Status(StatusCode::cancelled, Scope::group, "the collective ended"));
    if (api_.destroy(ucx_) != 0) log_warning("UCX did not let go of all memory in time: it is kept until the process ends");
  }

  Status start(Group& group, const UcxOptions& options, Deadline deadline) {
    char error[CKPT_UCX_TEXT_BYTES] = {};
    const CkptUcxConfig config{num_ranks_, options.tls.c_str(), message_done};
    if (api_.create(&config, &ucx_, error) != 0) return failed(error);
    Bytes address(kMaxAddressBytes);
    std::size_t bytes = address.size();
    if (api_.address(ucx_, address.data(), &bytes, error) != 0) return failed(error);
    address.resize(bytes);
    CKPT_ASSIGN_OR_RETURN(const std::vector<Bytes> all, group.all_gather("ucx addresses", std::move(address), deadline));
    for (std::uint32_t peer = 0; peer < num_ranks_; ++peer)
      if (peer != rank_ && api_.connect(ucx_, peer, all[peer].data(), all[peer].size(), error) != 0) return failed(error).with_note("rank {}", peer);
    char lane[128] = {};
    api_.lane(ucx_, lane, sizeof lane);
    lane_ = lane;
    if (api_.connect(ucx_, 0, nullptr, 0, error) != 0) return failed(error);
    return group.barrier("ucx connected", deadline);
  }

  [[nodiscard]] Result<std::unique_ptr<Work>> all_gather(std::byte* base, std::span<const std::uint64_t> unit_bytes, DeviceStream*) override {
    CKPT_RETURN_IF_ERROR(aborted_.check());
    if (unit_bytes.size() != num_ranks_)
      return Status(StatusCode::invalid_argument, Scope::operation, "all-gather of {} units in a group of {}", unit_bytes.size(), num_ranks_);
    // Pairwise: every rank takes each unit from the rank that has it, so that each byte is copied once, by its receiver.
    const std::uint64_t own_offset = offset_of(unit_bytes, rank_);
    std::vector<CkptUcxOp> ops;
    for (std::uint32_t step = 1; step < num_ranks_; ++step) {
      const std::uint32_t from = (rank_ + num_ranks_ - step) % num_ranks_;
      const std::uint32_t to = (rank_ + step) % num_ranks_;
      if (unit_bytes[from] > 0) ops.push_back({1, from, tag(from, 0), base + offset_of(unit_bytes, from), unit_bytes[from], nullptr});
      if (unit_bytes[rank_] > 0) ops.push_back({0, to, tag(rank_, 0), base + own_offset, unit_bytes[rank_], nullptr});
    }
    ++sequence_;
    return post(ops);
  }

  [[nodiscard]] Result<std::unique_ptr<Work>> broadcast(std::span<std::byte> buffer, std::uint32_t root, DeviceStream*) override {
    CKPT_RETURN_IF_ERROR(aborted_.check());
    if (root >= num_ranks_)
      return Status(StatusCode::invalid_argument, Scope::operation, "broadcast from rank {} in a group of {}", root, num_ranks_);
    const std::uint32_t place = (rank_ + num_ranks_ - root) % num_ranks_;  // in the chain that starts at the root
    const bool sends = place + 1 < num_ranks_;
    const std::uint32_t next = (rank_ + 1) % num_ranks_;
    const std::uint32_t previous = (rank_ + num_ranks_ - 1) % num_ranks_;
    const std::size_t num_chunks = (buffer.size() + chunk_bytes_ - 1) / chunk_bytes_;
    auto work = std::make_shared<UcxWork>(num_chunks * ((place > 0 ? 1 : 0) + (sends && num_ranks_ > 1 ? 1 : 0)));
    std::vector<CkptUcxOp> ops;
    for (std::size_t chunk = 0; chunk < num_chunks; ++chunk) {
      std::byte* at = buffer.data() + chunk * chunk_bytes_;
      const std::size_t bytes = std::min<std::uint64_t>(chunk_bytes_, buffer.size() - chunk * chunk_bytes_);
      const CkptUcxOp send{0, next, tag(root, chunk), at, bytes, nullptr};
      if (place == 0 && sends) ops.push_back(owned(send, {work, this, {}, false}));
      if (place > 0) ops.push_back(owned({1, previous, tag(root, chunk), at, bytes, nullptr}, {work, this, send, sends}));
    }
    ++sequence_;
    if (!ops.empty()) api_.post(ucx_, ops.data(), ops.size());
    return std::unique_ptr<Work>(std::make_unique<SharedWork>(std::move(work)));
  }

  [[nodiscard]] Status register_buffer(std::span<std::byte> buffer) override {
    char error[CKPT_UCX_TEXT_BYTES] = {};
    return api_.register_memory(ucx_, buffer.data(), buffer.size(), error) == 0 ? Status::success() : failed(error);
  }
  void unregister_buffer(std::span<std::byte> buffer) noexcept override { api_.unregister_memory(ucx_, buffer.data()); }
  void abort(const Status& reason) noexcept override {
    aborted_.trigger(reason);
    api_.abort(ucx_);
  }
  [[nodiscard]] std::string lane() const override { return lane_; }

 private:
  /// The caller's end of a work that messages hold, too.
  class SharedWork final : public Work {
   public:
    explicit SharedWork(std::shared_ptr<UcxWork> work) : work_(std::move(work)) {}
    [[nodiscard]] Status wait(Deadline deadline, const AbortSignal& abort) override { return work_->wait(deadline, abort); }
    [[nodiscard]] bool done() const override { return work_->done(); }

   private:
    std::shared_ptr<UcxWork> work_;
  };

  static Status failed(const char* error) { return {StatusCode::unavailable, Scope::group, "UCX: {}", error}; }
  static std::uint64_t offset_of(std::span<const std::uint64_t> unit_bytes, std::uint32_t rank) {
    std::uint64_t offset = 0;
    for (std::uint32_t r = 0; r < rank; ++r) offset += unit_bytes[r];
    return offset;
  }
  /// Operations are numbered alike on all ranks, since all start them in the same order.
  [[nodiscard]] std::uint64_t tag(std::uint32_t source, std::uint64_t chunk) const { return (sequence_ << 36) | (chunk << 12) | source; }

  static CkptUcxOp owned(CkptUcxOp op, Message message) {
    op.user = new Message(std::move(message));
    return op;
  }

  Result<std::unique_ptr<Work>> post(std::vector<CkptUcxOp>& ops) {
    auto work = std::make_shared<UcxWork>(ops.size());
    for (CkptUcxOp& op : ops) op = owned(op, {work, this, {}, false});
    if (!ops.empty()) api_.post(ucx_, ops.data(), ops.size());
    return std::unique_ptr<Work>(std::make_unique<SharedWork>(std::move(work)));
  }

  Status status_of(int outcome, std::uint32_t peer, const char* text) const {
    if (outcome == CKPT_UCX_DONE) return Status::success();
    if (outcome == CKPT_UCX_PEER_FAILED) return {StatusCode::unavailable, Scope::peer, "rank {} is gone, or cut off: {}", peer, text};
    const Status reason = aborted_.check();
    if (!reason.ok()) return reason;
    return {StatusCode::internal, Scope::peer, "a message with rank {}: {}", peer, text};
  }

  static void message_done(void* user, int outcome, std::uint32_t peer, const char* text) {
    const std::unique_ptr<Message> message(static_cast<Message*>(user));
    UcxCollective& self = *message->collective;
    const Status status = self.status_of(outcome, peer, text);
    if (message->has_then) {
      if (status.ok()) {
        const CkptUcxOp next = owned(message->then, {message->work, &self, {}, false});
        self.api_.post(self.ucx_, &next, 1);
      } else {
        message->work->message_ended(status);  // the send that will not be
      }
    }
    message->work->message_ended(status);
  }

  const CkptUcxApi& api_;
  std::uint32_t rank_;
  std::uint32_t num_ranks_;
  std::uint64_t chunk_bytes_;
  CkptUcx* ucx_ = nullptr;
  std::uint64_t sequence_ = 1;
  std::string lane_;
  AbortSignal aborted_;
};

}  // namespace

Result<std::unique_ptr<Collective>> make_ucx_collective(Group& group, const UcxOptions& options, Deadline deadline) {
  CKPT_ASSIGN_OR_RETURN(const CkptUcxApi* api, load_ucx_plugin(options.plugin));
  auto collective = std::make_unique<UcxCollective>(*api, group.rank(), group.size(), std::max<std::uint64_t>(options.chunk_bytes, 4096));
  CKPT_RETURN_IF_ERROR(collective->start(group, options, deadline));
  return std::unique_ptr<Collective>(std::move(collective));
}

}  // namespace ckpt
