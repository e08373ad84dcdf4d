/// A point that a stream on host memory reaches once: what stands behind its events.
#pragma once

#include <atomic>

#include "base/deadline.h"
#include "base/thread_annotations.h"
#include "ckpt/result.h"
#include "os/abort_signal.h"
#include "os/unique_fd.h"

namespace ckpt {

/// Shared by the stream that reaches it, the streams that wait for it and the caller. Thread-safe.
/// A descriptor exists only while and after somebody outside a stream had to wait: most marks never have one.
class HostMark {
 public:
  void reach() CKPT_EXCLUDES(mutex_);
  [[nodiscard]] bool reached() const { return reached_.load(std::memory_order_acquire); }
  /// For callers. resource_exhausted when the system has no descriptor left.
  [[nodiscard]] Status wait(Deadline deadline, const AbortSignal& abort) CKPT_EXCLUDES(mutex_);
  /// For the thread of another stream. Ends: the work before the mark is queued already, cannot fail, and streams finish their work before they end.
  void wait_in_stream() CKPT_EXCLUDES(mutex_);

 private:
  [[nodiscard]] Result<int> wake_fd() CKPT_EXCLUDES(mutex_);

  std::atomic<bool> reached_{false};
  Mutex mutex_;
  ConditionVariable changed_;
  UniqueFd wake_ CKPT_GUARDED_BY(mutex_);
};

}  // namespace ckpt
