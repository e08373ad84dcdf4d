/// Where an update and a caller who makes the engines' update calls himself meet: the reference's `req_func`.
///
///   update ─▶ ask(addresses) ─▶ caller makes the HTTP calls ─▶ reply(status) ─▶ update
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/thread_annotations.h"
#include "channel/engine_driver.h"
#include "os/abort_signal.h"

namespace ckpt {

/// A worker that the engines are to be told of.
struct WorkerAddress {
  std::string device_key;
  std::string endpoint;  ///< ZeroMQ
};

/// Of one update. Thread-safe.
class CallerDesk {
 public:
  /// `on_ask` runs on the update's thread when it has asked.
  explicit CallerDesk(std::function<void()> on_ask) : on_ask_(std::move(on_ask)) {}

  /// The update's side, once: every rank's worker, in rank order.
  void ask(std::vector<WorkerAddress> addresses) CKPT_EXCLUDES(mutex_);
  /// The caller's side: what was asked, or null so far. Valid while the desk lives.
  [[nodiscard]] const std::vector<WorkerAddress>* asked() const CKPT_EXCLUDES(mutex_);
  /// How the calls went; the first reply counts.
  void reply(const Status& outcome) CKPT_EXCLUDES(mutex_);

  [[nodiscard]] std::optional<Status> outcome() const CKPT_EXCLUDES(mutex_);
  /// Triggered by reply.
  [[nodiscard]] const AbortSignal& replied() const { return replied_; }

 private:
  const std::function<void()> on_ask_;
  mutable Mutex mutex_;
  std::optional<std::vector<WorkerAddress>> addresses_ CKPT_GUARDED_BY(mutex_);
  std::optional<Status> outcome_ CKPT_GUARDED_BY(mutex_);
  AbortSignal replied_;
};

/// The calls behind `desk` as the update waits for an engine's. `on_reply` runs once, on the caller's thread, when the reply is there. `desk` must
/// outlive it.
[[nodiscard]] std::unique_ptr<EngineCall> call_by_caller(CallerDesk& desk, std::vector<WorkerAddress> addresses,
                                                         std::function<void(const Status&)> on_reply);

}  // namespace ckpt
