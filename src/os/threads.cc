#include "os/threads.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <system_error>
#include <thread>
#include <vector>

#include "base/fault_point.h"
#include "base/thread_annotations.h"
#include "os/cgroup.h"

namespace ckpt {
namespace {

/// What the threads of one parallel_for share.
class Share {
 public:
  Share(std::size_t count, const std::function<Status(std::size_t)>& work) : count_(count), work_(work) {}

  void run() CKPT_EXCLUDES(mutex_) {
    while (!failed_.load(std::memory_order_relaxed)) {
      const std::size_t index = next_.fetch_add(1, std::memory_order_relaxed);
      if (index >= count_) return;
      Status status = work_(index);
      if (status.ok()) continue;
      failed_.store(true, std::memory_order_relaxed);
      const MutexLock lock(mutex_);
      if (first_.ok() || index < first_index_) {
        first_ = std::move(status);
        first_index_ = index;
      }
    }
  }
  [[nodiscard]] Status outcome() CKPT_EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    return first_;
  }

 private:
  std::size_t count_;
  const std::function<Status(std::size_t)>& work_;
  std::atomic<std::size_t> next_{0};
  std::atomic<bool> failed_{false};
  Mutex mutex_;
  Status first_ CKPT_GUARDED_BY(mutex_);
  std::size_t first_index_ CKPT_GUARDED_BY(mutex_) = 0;
};

}  // namespace

unsigned usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  const bool known = ::sched_getaffinity(0, sizeof set, &set) == 0;
  const unsigned cores = known ? static_cast<unsigned>(CPU_COUNT(&set)) : std::thread::hardware_concurrency();
  return std::max(std::min(cores, cgroup_cores().value_or(cores)), 1u);
}

Status parallel_for(std::size_t count, unsigned threads, const std::function<Status(std::size_t)>& work) {
  Share share(count, work);
  std::vector<std::thread> helpers;
  const std::size_t wanted = std::min<std::size_t>(std::max(threads, 1u), std::max<std::size_t>(count, 1)) - 1;
  for (std::size_t i = 0; i < wanted; ++i) {
    try {
      helpers.emplace_back([&share] { share.run(); });
    } catch (const std::system_error&) {
      break;  // no thread left: fewer do the work
    }
  }
  share.run();
  for (std::thread& helper : helpers) helper.join();
  return share.outcome();
}

Result<std::thread> start_thread(const char* what, std::function<void()> work) {
  CKPT_FAULT_POINT("sys.thread");
  try {
    return std::thread(std::move(work));
  } catch (const std::system_error& error) {
    return Status(StatusCode::resource_exhausted, Scope::process, "{}: no thread can be started: {}", what, error.what())
        .advise("raise the limits on processes (ulimit -u, pids.max) and address space (ulimit -v)");
  }
}

}  // namespace ckpt
