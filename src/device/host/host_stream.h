/// A stream on host memory: one thread carries out its work in order.
#pragma once

#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "device/device.h"
#include "device/host/copy_pool.h"
#include "device/host/disjoint_copies.h"
#include "device/host/host_mark.h"

namespace ckpt {

/// Copies queued one after the other, whose places do not touch, are carried out as one batch by all threads of the pool; everything else runs in
/// the order it was queued. Cost of queueing: one short lock, no allocation.
class HostStream final : public DeviceStream {
 public:
  /// resource_exhausted when the system has no thread left.
  [[nodiscard]] static Result<std::unique_ptr<DeviceStream>> create(CopyPool& pool);
  ~HostStream() override;  ///< finishes the work queued

  [[nodiscard]] Status copy_from_host(std::byte* destination, std::span<const std::byte> source) override;
  [[nodiscard]] Status copy_to_host(std::span<std::byte> destination, const std::byte* source) override;
  [[nodiscard]] Status wait_for(DeviceEvent& event) override;
  [[nodiscard]] Result<std::unique_ptr<DeviceEvent>> record() override;
  [[nodiscard]] void* native() override { return nullptr; }

 private:
  enum class Kind : std::uint8_t { copy, wait, reach };
  struct Work {
    Kind kind;
    HostCopy copy;
    std::shared_ptr<HostMark> mark;
  };
  explicit HostStream(CopyPool& pool) : pool_(pool) {}
  void push(Work work) CKPT_EXCLUDES(mutex_);
  void loop() CKPT_EXCLUDES(mutex_);
  void run(std::span<const Work> work);
  void finish_batch();

  CopyPool& pool_;
  DisjointCopies batch_;  // of the thread, kept for its memory
  Mutex mutex_;
  ConditionVariable changed_;
  std::vector<Work> queued_ CKPT_GUARDED_BY(mutex_);
  bool idle_ CKPT_GUARDED_BY(mutex_) = false;
  bool quit_ CKPT_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace ckpt
