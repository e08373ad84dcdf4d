/// One NCCL communicator: made in the background, watched, and ended within a bound whatever the GPUs do.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string_view>
#include <thread>

#include "base/deadline.h"
#include "base/thread_annotations.h"
#include "device/device.h"
#include "os/abort_signal.h"
#include "transfer/nccl/nccl_library.h"

namespace ckpt {

/// Non-blocking throughout: no call of NCCL stays away longer than its caller can wait. Threads: call() by one at a time, error() from any; abort()
/// from any, and from then on nobody enters NCCL but the destructor.
class NcclCommunicator {
 public:
  struct Place {
    std::uint32_t rank;
    std::uint32_t num_ranks;
  };
  /// Starts to connect; wait_until_connected() tells how it went. `device` must outlive it.
  NcclCommunicator(const NcclLibrary& nccl, Device& device, const NcclUniqueId& id, Place place);
  /// Aborts what is under way. A communicator that does not let itself be aborted within 10 s is left behind, with a line in the log.
  ~NcclCommunicator();
  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;

  [[nodiscard]] Status wait_until_connected(Deadline deadline, const AbortSignal& abort);
  /// Runs `calls` (which queue an operation) and waits until NCCL has taken it.
  [[nodiscard]] Status call(std::string_view what, const std::function<NcclResult(NcclComm)>& calls) CKPT_EXCLUDES(mutex_);
  /// What NCCL found out in the meantime: unavailable (group) once the communicator is broken.
  [[nodiscard]] Status error() CKPT_EXCLUDES(mutex_);
  /// Waits for `event`, behind an operation; error() ends the wait too. Any thread.
  [[nodiscard]] Status wait_for(DeviceEvent& event, Deadline deadline, const AbortSignal& abort, std::string_view what) CKPT_EXCLUDES(mutex_);
  void abort(const Status& reason) noexcept { aborted_.trigger(reason); }
  [[nodiscard]] const AbortSignal& aborted() const { return aborted_; }

 private:
  [[nodiscard]] Status connect(const NcclUniqueId& id);
  [[nodiscard]] Status warm_up();
  [[nodiscard]] Result<bool> is_ready() CKPT_EXCLUDES(mutex_);
  [[nodiscard]] Status failure(std::string_view what, NcclResult result) CKPT_REQUIRES(mutex_);

  const NcclLibrary& nccl_;
  Device& device_;
  Place place_;
  AbortSignal aborted_;
  Mutex mutex_;
  NcclComm comm_ CKPT_GUARDED_BY(mutex_) = nullptr;
  /// What the first all-gather works on. It stays while that may hang: freeing GPU memory waits for all work on the GPU, so the abort comes before.
  struct FirstAllGather {
    std::unique_ptr<DeviceBuffer> buffer;
    std::unique_ptr<DeviceStream> stream;
  };
  FirstAllGather first_;
  std::atomic<bool> connected_{false};
  Status outcome_;  // of connecting; written before connected_ is set
  std::thread connecting_;
};

}  // namespace ckpt
