#include "device/host/host_stream.h"

#include "base/fault_point.h"
#include "os/threads.h"

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

Result<std::unique_ptr<DeviceStream>> HostStream::create(CopyPool& pool) {
  std::unique_ptr<HostStream> stream(new HostStream(pool));
  CKPT_ASSIGN_OR_RETURN(stream->thread_, start_thread("start a stream", [self = stream.get()] { self->loop(); }));
  return std::unique_ptr<DeviceStream>(std::move(stream));
}

HostStream::~HostStream() {
  {
    const MutexLock lock(mutex_);
    quit_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

Status HostStream::copy_from_host(std::byte* destination, std::span<const std::byte> source) {
  CKPT_FAULT_POINT("sys.copy");
  if (!source.empty()) push({Kind::copy, {destination, source.data(), source.size()}, nullptr});
  return Status::success();
}

Status HostStream::copy_to_host(std::span<std::byte> destination, const std::byte* source) {
  return copy_from_host(destination.data(), {source, destination.size()});
}

Status HostStream::wait_for(DeviceEvent& event) {
  push({Kind::wait, {}, static_cast<HostEvent&>(event).mark()});
  return Status::success();
}

Result<std::unique_ptr<DeviceEvent>> HostStream::record() {
  auto mark = std::make_shared<HostMark>();
  push({Kind::reach, {}, mark});
  return std::unique_ptr<DeviceEvent>(new HostEvent(std::move(mark)));
}

void HostStream::push(Work work) {
  bool wake = false;
  {
    const MutexLock lock(mutex_);
    queued_.push_back(std::move(work));
    wake = idle_;
  }
  if (wake) changed_.notify_one();
}

void HostStream::loop() {
  std::vector<Work> taken;
  for (;;) {
    {
      const MutexLock lock(mutex_);
      idle_ = true;
      while (!quit_ && queued_.empty()) changed_.wait(mutex_);
      idle_ = false;
      if (queued_.empty()) return;
      taken.swap(queued_);
    }
    run(taken);
    taken.clear();
  }
}

void HostStream::run(std::span<const Work> work) {
  for (const Work& item : work) {
    if (item.kind == Kind::copy) {
      if (batch_.add(item.copy)) continue;
      finish_batch();
      static_cast<void>(batch_.add(item.copy));  // the first one is always taken
      continue;
    }
    finish_batch();
    if (item.kind == Kind::wait) item.mark->wait_in_stream();
    if (item.kind == Kind::reach) item.mark->reach();
  }
  finish_batch();
}

void HostStream::finish_batch() {
  if (!batch_.copies().empty()) pool_.copy(batch_.copies());
  batch_.clear();
}

}  // namespace ckpt
