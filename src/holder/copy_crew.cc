#include "holder/copy_crew.h"

#include <system_error>

namespace ckpt {

CopyCrew::CopyCrew(unsigned threads) {
  try {
    for (unsigned i = 1; i < threads; ++i) helpers_.emplace_back([this] { help(); });
  } catch (const std::system_error&) {  // fewer threads: slower, not wrong
  }
}

CopyCrew::~CopyCrew() {
  {
    const MutexLock lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
}

void CopyCrew::run(std::size_t num_tasks, const std::function<void(std::size_t)>& task) {
  if (helpers_.empty() || num_tasks < 2) {
    for (std::size_t i = 0; i < num_tasks; ++i) task(i);
    return;
  }
  {
    const MutexLock lock(mutex_);
    next_ = 0;
    task_ = &task;
    num_tasks_ = num_tasks;
    busy_ = helpers_.size();
    ++round_;
  }
  changed_.notify_all();
  work(task, num_tasks);
  const MutexLock lock(mutex_);
  while (busy_ > 0) changed_.wait(mutex_);
  task_ = nullptr;
}

void CopyCrew::help() {
  for (std::size_t seen = 0;;) {
    const std::function<void(std::size_t)>* task = nullptr;
    std::size_t num_tasks = 0;
    {
      const MutexLock lock(mutex_);
      while (!ending_ && round_ == seen) changed_.wait(mutex_);
      if (ending_) return;
      seen = round_;
      task = task_;
      num_tasks = num_tasks_;
    }
    work(*task, num_tasks);
    const MutexLock lock(mutex_);
    if (--busy_ == 0) changed_.notify_all();
  }
}

void CopyCrew::work(const std::function<void(std::size_t)>& task, std::size_t num_tasks) {
  for (std::size_t i = next_++; i < num_tasks; i = next_++) task(i);
}

}  // namespace ckpt
