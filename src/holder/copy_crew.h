/// A few threads that share the tasks of one bucket: the copies from the sender's slot into the worker's arena.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <thread>
#include <vector>

#include "base/thread_annotations.h"

namespace ckpt {

/// The caller takes part, so one thread means no other thread at all. Threads: run() from one at a time.
class CopyCrew {
 public:
  /// With fewer helpers than asked for where the system gives no more threads.
  explicit CopyCrew(unsigned threads);
  ~CopyCrew();
  CopyCrew(const CopyCrew&) = delete;
  CopyCrew& operator=(const CopyCrew&) = delete;

  /// Calls task(0) … task(num_tasks - 1), each once, on any of the threads, in rising order of their start. Returns when all have ended.
  void run(std::size_t num_tasks, const std::function<void(std::size_t)>& task) CKPT_EXCLUDES(mutex_);

 private:
  void help() CKPT_EXCLUDES(mutex_);
  void work(const std::function<void(std::size_t)>& task, std::size_t num_tasks);

  std::vector<std::thread> helpers_;
  std::atomic<std::size_t> next_{0};
  Mutex mutex_;
  ConditionVariable changed_;
  const std::function<void(std::size_t)>* task_ CKPT_GUARDED_BY(mutex_) = nullptr;
  std::size_t num_tasks_ CKPT_GUARDED_BY(mutex_) = 0;
  std::size_t round_ CKPT_GUARDED_BY(mutex_) = 0;
  std::size_t busy_ CKPT_GUARDED_BY(mutex_) = 0;  // helpers that have not finished the round
  bool ending_ CKPT_GUARDED_BY(mutex_) = false;
};

}  // namespace ckpt
