#include "device/cuda/cuda_context.h"

#include "base/log.h"
#include "base/recorder.h"

namespace ckpt {
namespace {

constexpr std::int64_t kAnchorHoldsNs = 30'000'000'000;

}  // namespace

CudaContext::~CudaContext() {
  const Status entered = enter();
  if (!entered.ok()) log_debug("the context of a GPU is gone already: {}", entered.to_string());
  for (const CuEvent event : free_events_) driver_.event_destroy(event);
  if (anchor_.event != nullptr) driver_.event_destroy(anchor_.event);
  if (anchor_.stream != nullptr) driver_.stream_destroy(anchor_.stream);
  driver_.context_set_current(nullptr);
  driver_.primary_context_release(device_);
}

Result<CuEvent> CudaContext::take_event() {
  {
    const MutexLock lock(mutex_);
    if (!free_events_.empty()) {
      const CuEvent event = free_events_.back();
      free_events_.pop_back();
      return event;
    }
  }
  CKPT_RETURN_IF_ERROR(enter());
  CuEvent event = nullptr;
  CKPT_RETURN_IF_ERROR(driver_.check(driver_.event_create(&event, 0), "cuEventCreate"));
  return event;
}

void CudaContext::give_back_event(CuEvent event) {
  const MutexLock lock(mutex_);
  free_events_.push_back(event);
}

std::optional<std::int64_t> CudaContext::wall_time_of(CuEvent event) {
  if (!enter().ok()) return std::nullopt;
  const MutexLock lock(mutex_);
  const bool holds = anchor_.wall_ns != 0 && wall_time_ns() - anchor_.wall_ns < kAnchorHoldsNs;
  if (!holds && !set_anchor().ok()) return std::nullopt;
  float milliseconds = 0;
  if (driver_.event_elapsed_time(&milliseconds, anchor_.event, event) != kCuSuccess) return std::nullopt;
  return anchor_.wall_ns + static_cast<std::int64_t>(static_cast<double>(milliseconds) * 1e6);
}

Status CudaContext::set_anchor() {
  if (anchor_.stream == nullptr) CKPT_RETURN_IF_ERROR(driver_.check(driver_.stream_create(&anchor_.stream, kCuStreamNonBlocking), "cuStreamCreate"));
  if (anchor_.event == nullptr) CKPT_RETURN_IF_ERROR(driver_.check(driver_.event_create(&anchor_.event, 0), "cuEventCreate"));
  anchor_.wall_ns = 0;
  CKPT_RETURN_IF_ERROR(driver_.check(driver_.event_record(anchor_.event, anchor_.stream), "cuEventRecord"));
  CKPT_RETURN_IF_ERROR(driver_.check(driver_.stream_synchronize(anchor_.stream), "cuStreamSynchronize"));  // an idle stream: microseconds
  anchor_.wall_ns = wall_time_ns();
  return Status::success();
}

}  // namespace ckpt
