#include <deque>

#include "base/check.h"
#include "base/fault_point.h"
#include "rendezvous/group.h"
#include "rendezvous/status_wire.h"
#include "rendezvous/store_client.h"

namespace ckpt {
namespace {

/// The lowest rank that failed speaks for all.
Status agree_by_gather(Group& group, std::string_view what, const Status& mine, Deadline deadline) {
  CKPT_ASSIGN_OR_RETURN(const std::vector<Bytes> outcomes, group.all_gather(what, encode_status(mine), deadline));
  for (std::uint32_t rank = 0; rank < outcomes.size(); ++rank) {
    const Status status = decode_status(outcomes[rank]);
    if (!status.ok()) return status.at_rank(static_cast<int>(rank));
  }
  return Status::success();
}

class StoreGroup final : public Group {
 public:
  StoreGroup(const GroupOptions& options) : options_(options) { signals_.emplace_back(); }

  Status connect(Deadline deadline, const AbortSignal& abort) {
    CKPT_ASSIGN_OR_RETURN(client_,
                          StoreClient::connect(options_, deadline, abort, [this](std::uint64_t epoch, const Status& why) { on_failed(epoch, why); }));
    return join(0, deadline);
  }

  [[nodiscard]] std::uint32_t rank() const override { return options_.rank; }
  [[nodiscard]] std::uint32_t size() const override { return options_.num_ranks; }
  [[nodiscard]] std::uint64_t epoch() const override { return epoch_.load(); }

  [[nodiscard]] Result<std::vector<Bytes>> all_gather(std::string_view what, Bytes mine, Deadline deadline) override {
    CKPT_RETURN_IF_ERROR(failed().check());
    if (mine.size() > kMaxValueBytes)
      return Status(StatusCode::resource_exhausted, Scope::operation, "{}: {} bytes are more than a rank may give, {}", what, mine.size(),
                    kMaxValueBytes);
    StoreMessage request{.type = MessageType::gather, .epoch = epoch(), .key = std::string(what)};
    if (!mine.empty()) request.value = std::make_shared<const Bytes>(mine);
    Result<StoreAnswer> answer = client_->ask(std::move(request), deadline);
    if (!answer.ok()) return settled(answer.status());
    std::vector<Bytes> all(size());
    for (auto& [from, value] : answer->parts)
      if (from < size() && value) all[from] = *value;
    all[rank()] = std::move(mine);
    return all;
  }
  [[nodiscard]] Status barrier(std::string_view what, Deadline deadline) override { return all_gather(what, {}, deadline).status(); }
  [[nodiscard]] Status agree(std::string_view what, const Status& mine, Deadline deadline) override {
    return agree_by_gather(*this, what, mine, deadline);
  }

  void abort(const Status& reason) noexcept override {
    client_->tell({.type = MessageType::abort, .epoch = epoch(), .value = std::make_shared<const Bytes>(encode_status(reason))});
  }
  [[nodiscard]] const AbortSignal& failed() const override {
    const MutexLock lock(mutex_);
    return signals_.back();
  }
  [[nodiscard]] Status renew(Deadline deadline) override {
    const std::uint64_t ended = epoch();
    CKPT_RETURN_IF_ERROR(join(ended, deadline));
    return Status::success();
  }
  [[nodiscard]] Status leave(Deadline deadline) override { return client_->ask({.type = MessageType::leave, .epoch = epoch()}, deadline).status(); }

 private:
  Status join(std::uint64_t ended, Deadline deadline) {
    CKPT_FAULT_POINT("group.before_join");
    {
      // Fresh before the request: a failure of the new epoch may come right behind its start.
      const MutexLock lock(mutex_);
      if (signals_.back().triggered()) signals_.emplace_back();
    }
    CKPT_ASSIGN_OR_RETURN(
        const StoreAnswer answer,
        client_->ask({.type = MessageType::join, .rank = rank(), .epoch = ended, .number = static_cast<std::int64_t>(size())}, deadline));
    epoch_ = answer.message.epoch;
    return Status::success();
  }

  void on_failed(std::uint64_t epoch, const Status& why) {
    // 0: the connection is lost, whatever the epoch. A late word about an epoch that has ended is of no interest; epoch_ is still the old one
    // while a join is under way, so a newer epoch's failure counts.
    if (epoch != 0 && epoch < epoch_.load()) return;
    const MutexLock lock(mutex_);
    signals_.back().trigger(why);
  }

  /// A refusal because the epoch failed gives the group's own reason.
  Status settled(const Status& status) const {
    const Status reason = failed().check();
    return reason.ok() ? status : reason;
  }

  GroupOptions options_;
  mutable Mutex mutex_;
  std::deque<AbortSignal> signals_ CKPT_GUARDED_BY(mutex_);  // one an epoch; kept, since waits may still look at an old one
  std::atomic<std::uint64_t> epoch_{0};
  std::unique_ptr<StoreClient> client_;  // last: its thread calls on_failed
};

class SolitaryGroup final : public Group {
 public:
  SolitaryGroup() { signals_.emplace_back(); }
  [[nodiscard]] std::uint32_t rank() const override { return 0; }
  [[nodiscard]] std::uint32_t size() const override { return 1; }
  [[nodiscard]] std::uint64_t epoch() const override { return epoch_; }
  [[nodiscard]] Result<std::vector<Bytes>> all_gather(std::string_view, Bytes mine, Deadline) override {
    CKPT_RETURN_IF_ERROR(failed().check());
    return std::vector<Bytes>{std::move(mine)};
  }
  [[nodiscard]] Status barrier(std::string_view, Deadline) override { return failed().check(); }
  [[nodiscard]] Status agree(std::string_view, const Status& mine, Deadline) override { return mine.ok() ? failed().check() : mine.at_rank(0); }
  void abort(const Status& reason) noexcept override { signals_.back().trigger(reason); }
  [[nodiscard]] const AbortSignal& failed() const override { return signals_.back(); }
  [[nodiscard]] Status renew(Deadline) override {
    if (signals_.back().triggered()) signals_.emplace_back();
    ++epoch_;
    return Status::success();
  }
  [[nodiscard]] Status leave(Deadline) override { return Status::success(); }

 private:
  std::deque<AbortSignal> signals_;
  std::uint64_t epoch_ = 1;
};

}  // namespace

Result<std::unique_ptr<Group>> join_group(const GroupOptions& options, Deadline deadline, const AbortSignal& abort) {
  auto group = std::make_unique<StoreGroup>(options);
  CKPT_RETURN_IF_ERROR(group->connect(deadline, abort).with_note("join as rank {} of {}", options.rank, options.num_ranks));
  return std::unique_ptr<Group>(std::move(group));
}

std::unique_ptr<Group> solitary_group() { return std::make_unique<SolitaryGroup>(); }

}  // namespace ckpt
