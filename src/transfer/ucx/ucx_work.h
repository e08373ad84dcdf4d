/// An operation of a collective as its caller sees it: a number of transfers, and the first error among them.
#pragma once

#include <poll.h>

#include <cstddef>
#include <memory>

#include "base/recorder.h"
#include "base/thread_annotations.h"
#include "os/wait_fd.h"
#include "transfer/collective.h"

namespace ckpt {

/// Kept alive by the caller and by each transfer under way.
class UcxWork {
 public:
  explicit UcxWork(std::size_t num_transfers) : num_open_(num_transfers) {
    if (num_transfers == 0) finished_.trigger_from_signal_handler();
  }

  [[nodiscard]] Status wait(Deadline deadline, const AbortSignal& abort) CKPT_EXCLUDES(mutex_) {
    if (!finished_.triggered()) CKPT_RETURN_IF_ERROR(wait_until_ready(finished_.fd(), POLLIN, deadline, abort, "bytes from another rank"));
    const MutexLock lock(mutex_);
    return failure_;
  }
  [[nodiscard]] bool done() const { return finished_.triggered(); }
  [[nodiscard]] std::optional<std::int64_t> ended_at_ns() const CKPT_EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    return ended_at_ns_;
  }

  void transfer_ended(const Status& status) CKPT_EXCLUDES(mutex_) {
    bool last = false;
    {
      const MutexLock lock(mutex_);  // also makes what the transfers wrote visible to the waiter
      if (failure_.ok()) failure_ = status;
      last = --num_open_ == 0;
      if (last) ended_at_ns_ = wall_time_ns();
    }
    if (last) finished_.trigger_from_signal_handler();
  }

 private:
  AbortSignal finished_;  // its descriptor ends the wait
  mutable Mutex mutex_;
  std::size_t num_open_ CKPT_GUARDED_BY(mutex_);
  Status failure_ CKPT_GUARDED_BY(mutex_);
  std::optional<std::int64_t> ended_at_ns_ CKPT_GUARDED_BY(mutex_);
};

/// The caller's end of a UcxWork.
class SharedUcxWork final : public Work {
 public:
  explicit SharedUcxWork(std::shared_ptr<UcxWork> work) : work_(std::move(work)) {}
  [[nodiscard]] Status wait(Deadline deadline, const AbortSignal& abort) override { return work_->wait(deadline, abort); }
  [[nodiscard]] bool done() const override { return work_->done(); }
  [[nodiscard]] std::optional<std::int64_t> ended_at_ns() const override { return work_->ended_at_ns(); }

 private:
  std::shared_ptr<UcxWork> work_;
};

}  // namespace ckpt
