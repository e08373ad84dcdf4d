#include "transfer/ucx/copy_threads.h"

#include <system_error>
#include <utility>

namespace ckpt {

CopyThreads::CopyThreads(unsigned num_threads) {
  for (unsigned i = 0; i < num_threads; ++i) {
    try {
      threads_.emplace_back([this] { loop(); });
    } catch (const std::system_error&) {
      break;  // no thread left: fewer do the work
    }
  }
}

bool CopyThreads::push(Job job) {
  const MutexLock lock(mutex_);
  if (stopping_ || threads_.empty()) return false;
  jobs_.push_back(std::move(job));
  changed_.notify_one();
  return true;
}

void CopyThreads::stop() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_)
    if (thread.joinable()) thread.join();
}

bool CopyThreads::next(Job& job) {
  const MutexLock lock(mutex_);
  while (jobs_.empty() && !stopping_) changed_.wait(mutex_);
  if (jobs_.empty()) return false;
  job = std::move(jobs_.front());
  jobs_.pop_front();
  return true;
}

void CopyThreads::loop() {
  Job job;
  while (next(job)) {
    job();
    job = nullptr;  // lets go of what it holds before the wait
  }
}

}  // namespace ckpt
