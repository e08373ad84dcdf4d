/// One update in the front: the outcomes of all workers, and the first thing that went wrong.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/deadline.h"
#include "base/thread_annotations.h"
#include "holder/control_messages.h"

namespace ckpt {

/// Thread-safe. Invariant: the first outcome of a worker stays.
class UpdateRound {
 public:
  UpdateRound(std::uint64_t update, std::uint32_t tp) : update_(update), outcomes_(tp), committed_(tp) {}

  [[nodiscard]] std::uint64_t update() const { return update_; }
  /// Ignores outcomes of other updates.
  void set(std::uint32_t rank, const UpdateOutcome& outcome) CKPT_EXCLUDES(mutex_);
  /// The worker is gone: that is its outcome, unless it had prepared before. Its arena counts as touched.
  void set_lost(std::uint32_t rank, const Status& reason) CKPT_EXCLUDES(mutex_);
  void set_committed(std::uint32_t rank, std::uint64_t update) CKPT_EXCLUDES(mutex_);
  /// Fails the round as a whole.
  void fail(const Status& reason) CKPT_EXCLUDES(mutex_);

  /// ok once every worker has prepared; the first failure as soon as there is one; deadline_exceeded names the workers that are still at it.
  [[nodiscard]] Status wait_prepared(Deadline deadline) CKPT_EXCLUDES(mutex_);
  /// Waits until every worker has an outcome. False at the deadline.
  [[nodiscard]] bool wait_outcomes(Deadline deadline) CKPT_EXCLUDES(mutex_);
  /// Waits until every worker has followed the commit or is gone. False at the deadline.
  [[nodiscard]] bool wait_committed(Deadline deadline) CKPT_EXCLUDES(mutex_);

  [[nodiscard]] std::vector<std::optional<UpdateOutcome>> outcomes() const CKPT_EXCLUDES(mutex_);

 private:
  [[nodiscard]] bool complete() const CKPT_REQUIRES(mutex_);
  template <typename Condition>
  bool wait_until(Deadline deadline, Condition condition) CKPT_REQUIRES(mutex_);

  const std::uint64_t update_;
  mutable Mutex mutex_;
  ConditionVariable changed_;
  std::vector<std::optional<UpdateOutcome>> outcomes_ CKPT_GUARDED_BY(mutex_);
  std::vector<bool> committed_ CKPT_GUARDED_BY(mutex_);
  Status first_failure_ CKPT_GUARDED_BY(mutex_);
};

}  // namespace ckpt
