/// A CUDA stream: copies from registered host memory run while the caller goes on.
#pragma once

#include <memory>

#include "device/cuda/cuda_context.h"
#include "device/device.h"

namespace ckpt {

/// Marks a point of a CUDA stream.
class CudaEvent final : public DeviceEvent {
 public:
  CudaEvent(CudaContext& context, CuEvent event) : context_(context), event_(event) {}
  ~CudaEvent() override { context_.give_back_event(event_); }
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;

  [[nodiscard]] Result<bool> done() override;
  [[nodiscard]] Status wait(Deadline deadline, const AbortSignal& abort) override;
  [[nodiscard]] std::optional<std::int64_t> reached_at_ns() override { return context_.wall_time_of(event_); }
  [[nodiscard]] CuEvent native() const { return event_; }

 private:
  CudaContext& context_;
  CuEvent event_;
};

/// Does not wait for the default stream, nor it for this.
class CudaStream final : public DeviceStream {
 public:
  [[nodiscard]] static Result<std::unique_ptr<DeviceStream>> create(CudaContext& context);
  ~CudaStream() override;  ///< work under way goes on; CUDA frees the stream after it
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;

  [[nodiscard]] Status copy_from_host(std::byte* destination, std::span<const std::byte> source) override;
  [[nodiscard]] Status copy_to_host(std::span<std::byte> destination, const std::byte* source) override;
  [[nodiscard]] Status wait_for(DeviceEvent& event) override;
  [[nodiscard]] Result<std::unique_ptr<DeviceEvent>> record() override;
  [[nodiscard]] void* native() override { return stream_; }

 private:
  CudaStream(CudaContext& context, CuStream stream) : context_(context), stream_(stream) {}
  CudaContext& context_;
  CuStream stream_;
};

}  // namespace ckpt
