/// Passes work from one stage of the pipeline to the next, and the first error to all of them.
#pragma once

#include <deque>
#include <utility>

#include "base/deadline.h"
#include "base/thread_annotations.h"
#include "ckpt/result.h"

namespace ckpt {

/// Unbounded queue between two threads. Thread-safe. After fail() every call returns that error, waiting ones at once.
template <typename T>
class BlockingQueue {
 public:
  void push(T item) CKPT_EXCLUDES(mutex_) {
    {
      const MutexLock lock(mutex_);
      items_.push_back(std::move(item));
    }
    changed_.notify_one();
  }

  /// The oldest item; deadline_exceeded naming `waited_for`, or the error given to fail().
  [[nodiscard]] Result<T> pop(Deadline deadline, const char* waited_for) CKPT_EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    while (failure_.ok() && items_.empty())
      if (changed_.wait_until(mutex_, deadline.time()) == std::cv_status::timeout) CKPT_RETURN_IF_ERROR(deadline.check(waited_for));
    if (!failure_.ok()) return failure_;
    T item = std::move(items_.front());
    items_.pop_front();
    return item;
  }

  void fail(const Status& status) CKPT_EXCLUDES(mutex_) {
    {
      const MutexLock lock(mutex_);
      if (failure_.ok()) failure_ = status;
    }
    changed_.notify_all();
  }

 private:
  Mutex mutex_;
  ConditionVariable changed_;
  std::deque<T> items_ CKPT_GUARDED_BY(mutex_);
  Status failure_ CKPT_GUARDED_BY(mutex_);
};

}  // namespace ckpt
