#include "server/caller_desk.h"

#include <poll.h>

#include "base/check.h"
#include "os/wait_fd.h"

namespace ckpt {
namespace {

/// The caller's calls, seen from the update.
class CallerCall final : public EngineCall {
 public:
  CallerCall(CallerDesk& desk, std::function<void(const Status&)> on_reply)
      : desk_(desk), on_reply_(desk.replied(), [this, on_reply = std::move(on_reply)](const Status&) { on_reply(*desk_.outcome()); }) {}

  [[nodiscard]] Status wait(Deadline deadline, const AbortSignal& abort) override {
    if (!done()) CKPT_RETURN_IF_ERROR(wait_until_ready(desk_.replied().fd(), POLLIN, deadline, abort, "the caller's calls to the engines"));
    return *desk_.outcome();
  }
  [[nodiscard]] bool done() const override { return desk_.replied().triggered(); }
  /// A caller whose call went well may have made none: another rank speaks with the engine, and that may still be under way.
  [[nodiscard]] bool answered() const override { return done() && !desk_.outcome()->ok(); }
  [[nodiscard]] EngineWeights weights() const override { return EngineWeights::unknown; }  // the reply is the caller's
  [[nodiscard]] bool pause_is_others() const override { return false; }
  void cancel() noexcept override {}  // the caller's own call is his to end

 private:
  CallerDesk& desk_;
  AbortLink on_reply_;
};

}  // namespace

void CallerDesk::ask(std::vector<WorkerAddress> addresses) {
  {
    const MutexLock lock(mutex_);
    CKPT_CHECK(!addresses_);
    addresses_ = std::move(addresses);
  }
  on_ask_();
}

const std::vector<WorkerAddress>* CallerDesk::asked() const {
  const MutexLock lock(mutex_);
  return addresses_ ? &*addresses_ : nullptr;
}

void CallerDesk::reply(const Status& outcome) {
  {
    const MutexLock lock(mutex_);
    if (outcome_) return;
    outcome_ = outcome;
  }
  replied_.trigger({StatusCode::cancelled, Scope::operation, "the caller has replied"});
}

std::optional<Status> CallerDesk::outcome() const {
  const MutexLock lock(mutex_);
  return outcome_;
}

std::unique_ptr<EngineCall> call_by_caller(CallerDesk& desk, std::vector<WorkerAddress> addresses, std::function<void(const Status&)> on_reply) {
  auto call = std::make_unique<CallerCall>(desk, std::move(on_reply));
  desk.ask(std::move(addresses));
  return call;
}

}  // namespace ckpt
