#include <poll.h>

#include <deque>

#include "base/check.h"
#include "base/fault_point.h"
#include "os/abort_relay.h"
#include "os/wait_fd.h"
#include "rendezvous/group.h"
#include "rendezvous/status_wire.h"
#include "rendezvous/store_client.h"

namespace ckpt {
namespace {

/// How long a failing rank waits to hear which rank's error the group has taken.
constexpr Duration kErrorSettleTime = std::chrono::seconds(2);

/// That a peer has gone is mostly an echo of its own error, or of its death: what the group hears of that says more, and is there in a moment.
constexpr Duration kCauseFollows = std::chrono::milliseconds(500);

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
  explicit StoreGroup(const GroupOptions& options) : options_(options) { signals_.emplace_back(); }

  /// Connects where there is no connection, and joins the epoch that comes.
  Status join(Patience patience, Deadline deadline, const AbortSignal& abort) {
    CKPT_FAULT_POINT("group.before_join");
    const std::shared_ptr<StoreClient> before = client();
    if (before) {
      const Status status = ask_to_join(*before, deadline, abort);
      if (before->lost().ok()) return status;  // else the store took this rank for dead and hung up: it may come back
    }
    StoreEvents events{[this](std::uint64_t epoch) { on_joined(epoch); }, [this](std::uint64_t epoch, const Status& why) { on_failed(epoch, why); }};
    CKPT_ASSIGN_OR_RETURN(const std::shared_ptr<StoreClient> fresh, StoreClient::connect(options_, deadline, abort, std::move(events), patience));
    {
      const MutexLock lock(mutex_);
      client_ = fresh;
    }
    return ask_to_join(*fresh, deadline, abort);
  }

  [[nodiscard]] std::uint32_t rank() const override { return options_.rank; }
  [[nodiscard]] std::uint32_t size() const override { return options_.num_ranks; }
  [[nodiscard]] std::uint64_t epoch() const override {
    const MutexLock lock(mutex_);
    return epoch_;
  }

  [[nodiscard]] Result<std::vector<Bytes>> all_gather(std::string_view what, Bytes mine, Deadline deadline) override {
    CKPT_RETURN_IF_ERROR(failed().check());
    if (mine.size() > kMaxValueBytes)
      return settled(Status(StatusCode::resource_exhausted, Scope::operation, "{}: {} bytes are more than a rank may give, {}", what, mine.size(),
                            kMaxValueBytes)
                         .at_rank(static_cast<int>(rank())));
    StoreMessage request{.type = MessageType::gather, .epoch = epoch(), .key = std::string(what)};
    if (!mine.empty()) request.value = std::make_shared<const Bytes>(mine);
    Result<StoreAnswer> answer = client()->ask(std::move(request), deadline);
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
    client()->tell({.type = MessageType::abort, .epoch = epoch(), .value = std::make_shared<const Bytes>(encode_status(reason))});
  }
  [[nodiscard]] const AbortSignal& failed() const override {
    const MutexLock lock(mutex_);
    return signals_.back();
  }
  [[nodiscard]] Status renew(Deadline deadline, const AbortSignal& abort) override { return join(Patience::none, deadline, abort); }
  /// A store that ends meanwhile has nobody left to tell.
  [[nodiscard]] Status leave(Deadline deadline) override {
    const Status status = client()->ask({.type = MessageType::leave, .epoch = epoch()}, deadline).status();
    return client()->lost().ok() ? status : Status::success();
  }

 private:
  Status ask_to_join(StoreClient& store, Deadline deadline, const AbortSignal& abort) {
    const AbortRelay relay({&abort}, [&](const Status& reason) { store.give_up(reason); });
    return store.ask({.type = MessageType::join, .rank = rank(), .epoch = epoch(), .number = static_cast<std::int64_t>(size())}, deadline).status();
  }

  [[nodiscard]] std::shared_ptr<StoreClient> client() const CKPT_EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    return client_;
  }

  /// On the client's thread, ahead of any word about the new epoch: its signal cannot miss a failure, nor keep an old one.
  void on_joined(std::uint64_t epoch) CKPT_EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    epoch_ = epoch;
    if (signals_.back().triggered()) signals_.emplace_back();
  }

  /// Epoch 0: the connection is lost, whatever the epoch.
  void on_failed(std::uint64_t epoch, const Status& why) CKPT_EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    if (epoch == 0 || epoch == epoch_) signals_.back().trigger(why);
  }

  /// The group's own reason, where it has one. Where this rank alone gave up, the others learn it, and it is the reason from now on.
  Status settled(const Status& status) CKPT_EXCLUDES(mutex_) {
    if (failed().check().ok()) abort(status);
    on_failed(0, status);
    return failed().check();
  }

  GroupOptions options_;
  mutable Mutex mutex_;
  std::deque<AbortSignal> signals_ CKPT_GUARDED_BY(mutex_);  // one an epoch that failed; kept, since waits may still look at an old one
  std::uint64_t epoch_ CKPT_GUARDED_BY(mutex_) = 0;
  std::shared_ptr<StoreClient> client_ CKPT_GUARDED_BY(mutex_);  // shared with an abort() under way when renew replaces it. Last: it calls on_failed
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
  [[nodiscard]] Status renew(Deadline, const AbortSignal&) override {
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
  CKPT_RETURN_IF_ERROR(group->join(Patience::until_deadline, deadline, abort).with_note("join as rank {} of {}", options.rank, options.num_ranks));
  return std::unique_ptr<Group>(std::move(group));
}

Status end_for_all(Group& group, const Status& mine) {
  const AbortSignal never;
  const auto fails_within = [&](Duration time) {
    return wait_until_ready(group.failed().fd(), POLLIN, Deadline::after(time), never, "the group's error").ok();
  };
  const bool echo = mine.code() == StatusCode::unavailable && mine.scope() == Scope::peer;
  if (!echo || !fails_within(kCauseFollows)) group.abort(mine);
  static_cast<void>(fails_within(kErrorSettleTime));
  const Status agreed = group.failed().check();
  return agreed.ok() ? mine : agreed;
}

Status end_where_failed(Group& group, const Status& mine, std::string_view stage) {
  if (mine.ok()) return mine;
  return end_for_all(group, mine.at_stage(stage).at_rank(static_cast<int>(group.rank())));
}

std::unique_ptr<Group> solitary_group() { return std::make_unique<SolitaryGroup>(); }

}  // namespace ckpt
