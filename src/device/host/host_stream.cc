#include "device/host/host_stream.h"

#include <poll.h>

#include "base/fault_point.h"
#include "os/wait_fd.h"

namespace ckpt {
namespace {

class HostEvent final : public DeviceEvent {
 public:
  explicit HostEvent(std::shared_ptr<HostMark> mark) : mark_(std::move(mark)) {}
  [[nodiscard]] Result<bool> done() override { return mark_->reached(); }
  [[nodiscard]] Status wait(Deadline deadline, const AbortSignal& abort) override { return mark_->wait(deadline, abort); }
  [[nodiscard]] const std::shared_ptr<HostMark>& mark() const { return mark_; }

 private:
  std::shared_ptr<HostMark> mark_;  // shared with the streams that reach it and wait for it
};

}  // namespace

HostMark::HostMark() = default;

Status HostMark::wait(Deadline deadline, const AbortSignal& abort) const {
  if (reached()) return Status::success();
  return wait_until_ready(reached_.fd(), POLLIN, deadline, abort, "a copy in host memory");
}

HostStream::HostStream(CopyPool& pool) : pool_(pool), thread_([this] { loop(); }) {}

HostStream::~HostStream() {
  {
    const MutexLock lock(mutex_);
    quit_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

Status HostStream::copy_from_host(std::byte* destination, std::span<const std::byte> source) {
  CKPT_FAULT_POINT("sys.copy");
  push([this, destination, source] { pool_.copy(destination, source.data(), source.size()); });
  return Status::success();
}

Status HostStream::wait_for(DeviceEvent& event) {
  push([mark = static_cast<HostEvent&>(event).mark()] {
    const AbortSignal never;
    static_cast<void>(mark->wait(Deadline::after(std::chrono::hours(1)), never));  // the work before it cannot fail and is already queued
  });
  return Status::success();
}

Result<std::unique_ptr<DeviceEvent>> HostStream::record() {
  auto mark = std::make_shared<HostMark>();
  push([mark] { mark->reach(); });
  return std::unique_ptr<DeviceEvent>(new HostEvent(std::move(mark)));
}

void HostStream::push(std::function<void()> work) {
  {
    const MutexLock lock(mutex_);
    work_.push_back(std::move(work));
  }
  changed_.notify_one();
}

void HostStream::loop() {
  for (;;) {
    std::function<void()> work;
    {
      const MutexLock lock(mutex_);
      while (!quit_ && work_.empty()) changed_.wait(mutex_);
      if (work_.empty()) return;
      work = std::move(work_.front());
      work_.pop_front();
    }
    work();
  }
}

}  // namespace ckpt
