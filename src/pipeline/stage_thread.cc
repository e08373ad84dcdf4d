#include "pipeline/stage_thread.h"

#include "base/check.h"
#include "os/threads.h"

namespace ckpt {

Status StageThread::create() {
  CKPT_ASSIGN_OR_RETURN(thread_, start_thread("a stage of the pipeline", [this] { loop(); }));
  return Status::success();
}

StageThread::~StageThread() {
  {
    const MutexLock lock(mutex_);
    quit_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void StageThread::start(std::function<Status()> work) {
  {
    const MutexLock lock(mutex_);
    CKPT_CHECK(!running_);
    running_ = true;
    work_ = std::move(work);
  }
  changed_.notify_all();
}

Status StageThread::join() {
  const MutexLock lock(mutex_);
  while (running_) changed_.wait(mutex_);
  return std::exchange(outcome_, Status::success());
}

void StageThread::loop() {
  for (;;) {
    std::function<Status()> work;
    {
      const MutexLock lock(mutex_);
      while (!quit_ && !work_) changed_.wait(mutex_);
      if (!work_) return;
      work = std::exchange(work_, nullptr);
    }
    Status outcome = work();
    work = nullptr;
    {
      const MutexLock lock(mutex_);
      outcome_ = std::move(outcome);
      running_ = false;
    }
    changed_.notify_all();
  }
}

}  // namespace ckpt
