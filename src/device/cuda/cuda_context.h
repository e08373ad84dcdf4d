/// One GPU's primary context, and the events that its streams use again and again.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/thread_annotations.h"
#include "device/cuda/cuda_driver.h"

namespace ckpt {

/// Thread-safe. Outlives everything made in it.
class CudaContext {
 public:
  CudaContext(const CudaDriver& driver, CuDevice device, CuContext context) : driver_(driver), device_(device), context_(context) {}
  ~CudaContext();
  CudaContext(const CudaContext&) = delete;
  CudaContext& operator=(const CudaContext&) = delete;

  [[nodiscard]] const CudaDriver& driver() const { return driver_; }
  [[nodiscard]] CuDevice device() const { return device_; }
  /// Makes the context current on this thread. Before every other call; costs well under a microsecond.
  [[nodiscard]] Status enter() const { return driver_.check(driver_.context_set_current(context_), "cuCtxSetCurrent"); }

  /// An event that nobody uses. internal when CUDA makes none.
  [[nodiscard]] Result<CuEvent> take_event() CKPT_EXCLUDES(mutex_);
  /// Waits that a stream has queued for it hold on: they are for the record before.
  void give_back_event(CuEvent event) CKPT_EXCLUDES(mutex_);
  /// When an event that is done was reached, in nanoseconds of CLOCK_REALTIME; nothing when CUDA does not tell.
  [[nodiscard]] std::optional<std::int64_t> wall_time_of(CuEvent event) CKPT_EXCLUDES(mutex_);

 private:
  /// An event whose wall time is known. CUDA tells times between events as float milliseconds: a near one keeps them exact.
  struct Anchor {
    CuStream stream = nullptr;
    CuEvent event = nullptr;
    std::int64_t wall_ns = 0;
  };
  [[nodiscard]] Status set_anchor() CKPT_REQUIRES(mutex_);

  const CudaDriver& driver_;
  CuDevice device_;
  CuContext context_;
  Mutex mutex_;
  std::vector<CuEvent> free_events_ CKPT_GUARDED_BY(mutex_);
  Anchor anchor_ CKPT_GUARDED_BY(mutex_);
};

}  // namespace ckpt
