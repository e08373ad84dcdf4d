/// Threads that copy while the plug-in's goes on talking. Asleep when there is nothing to copy.
#pragma once

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "base/thread_annotations.h"

namespace ckpt {

/// Starts jobs in the order in which they came. Threads: any.
class CopyThreads {
 public:
  using Job = std::function<void()>;
  /// Fewer where the system gives no more threads; none at all: `push` refuses.
  explicit CopyThreads(unsigned num_threads);
  ~CopyThreads() { stop(); }
  CopyThreads(const CopyThreads&) = delete;
  CopyThreads& operator=(const CopyThreads&) = delete;

  /// False after `stop`: the job is not run.
  [[nodiscard]] bool push(Job job) CKPT_EXCLUDES(mutex_);
  /// Runs what was pushed, then ends. Not from a job.
  void stop() CKPT_EXCLUDES(mutex_);

 private:
  void loop() CKPT_EXCLUDES(mutex_);
  bool next(Job& job) CKPT_EXCLUDES(mutex_);

  Mutex mutex_;
  ConditionVariable changed_;
  std::deque<Job> jobs_ CKPT_GUARDED_BY(mutex_);
  bool stopping_ CKPT_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace ckpt
