/// A thread that outlives updates: it runs one function at a time, so that a warm update starts no thread.
#pragma once

#include <functional>
#include <thread>

#include "base/thread_annotations.h"
#include "ckpt/status.h"

namespace ckpt {

/// Threads: start() and join() from one thread, in turn. The destructor waits for the function under way.
class StageThread {
 public:
  StageThread() = default;
  ~StageThread();
  StageThread(const StageThread&) = delete;
  StageThread& operator=(const StageThread&) = delete;

  /// Starts the thread, once, before all else. resource_exhausted.
  [[nodiscard]] Status create();
  /// Runs `work` on the thread. The one before must have been joined.
  void start(std::function<Status()> work) CKPT_EXCLUDES(mutex_);
  /// Waits for `work` and returns its status; ok if nothing was started.
  [[nodiscard]] Status join() CKPT_EXCLUDES(mutex_);

 private:
  void loop() CKPT_EXCLUDES(mutex_);

  Mutex mutex_;
  ConditionVariable changed_;
  std::function<Status()> work_ CKPT_GUARDED_BY(mutex_);
  bool running_ CKPT_GUARDED_BY(mutex_) = false;
  bool quit_ CKPT_GUARDED_BY(mutex_) = false;
  Status outcome_ CKPT_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace ckpt
