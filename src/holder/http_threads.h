/// Threads for the connections of an HTTP server: one a busy connection, up to a bound, so that a long update or an idle keep-alive connection never
/// keeps another client waiting. (The library's own pool has eight.)
#pragma once

#include <httplib.h>

#include <cstddef>
#include <deque>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "base/thread_annotations.h"

namespace ckpt {

/// Threads are kept until shutdown(). Beyond `max_threads`, connections wait for a free one.
class HttpThreads final : public httplib::TaskQueue {
 public:
  explicit HttpThreads(std::size_t max_threads) : max_threads_(max_threads) {}

  using Enqueued = decltype(std::declval<httplib::TaskQueue&>().enqueue({}));  // void, or bool in newer versions of the library
  Enqueued enqueue(std::function<void()> task) override CKPT_EXCLUDES(mutex_);
  void shutdown() override CKPT_EXCLUDES(mutex_);

 private:
  void work() CKPT_EXCLUDES(mutex_);

  const std::size_t max_threads_;
  Mutex mutex_;
  ConditionVariable changed_;
  std::deque<std::function<void()>> tasks_ CKPT_GUARDED_BY(mutex_);
  std::size_t idle_ CKPT_GUARDED_BY(mutex_) = 0;
  bool ending_ CKPT_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_ CKPT_GUARDED_BY(mutex_);
};

}  // namespace ckpt
