/// A stream on host memory: one thread carries out its work in order.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <thread>

#include "device/device.h"
#include "device/host/copy_pool.h"

namespace ckpt {

/// A point that a stream reaches once. Shared by the stream that records it and those that wait for it.
class HostMark {
 public:
  HostMark();
  void reach() noexcept { reached_.trigger_from_signal_handler(); }
  [[nodiscard]] bool reached() const { return reached_.triggered(); }
  [[nodiscard]] Status wait(Deadline deadline, const AbortSignal& abort) const;

 private:
  AbortSignal reached_;  // its descriptor becomes readable: the same wait as for everything else
};

class HostStream final : public DeviceStream {
 public:
  explicit HostStream(CopyPool& pool);
  ~HostStream() override;  ///< waits for the work queued

  [[nodiscard]] Status copy_from_host(std::byte* destination, std::span<const std::byte> source) override;
  [[nodiscard]] Status wait_for(DeviceEvent& event) override;
  [[nodiscard]] Result<std::unique_ptr<DeviceEvent>> record() override;
  [[nodiscard]] void* native() override { return nullptr; }

 private:
  void push(std::function<void()> work) CKPT_EXCLUDES(mutex_);
  void loop() CKPT_EXCLUDES(mutex_);

  CopyPool& pool_;
  Mutex mutex_;
  ConditionVariable changed_;
  std::deque<std::function<void()>> work_ CKPT_GUARDED_BY(mutex_);
  bool quit_ CKPT_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace ckpt
