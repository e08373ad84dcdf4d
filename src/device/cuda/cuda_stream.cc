#include "device/cuda/cuda_stream.h"

#include "base/fault_point.h"
#include "os/poll_until.h"

namespace ckpt {

Result<bool> CudaEvent::done() {
  CKPT_RETURN_IF_ERROR(context_.enter());
  const CuResult result = context_.driver().event_query(event_);
  if (result == kCuNotReady) return false;
  CKPT_RETURN_IF_ERROR(context_.driver().check(result, "work on the GPU"));
  return true;
}

Status CudaEvent::wait(Deadline deadline, const AbortSignal& abort) {
  return poll_until([this] { return done(); }, deadline, abort, "work on the GPU");
}

Result<std::unique_ptr<DeviceStream>> CudaStream::create(CudaContext& context) {
  CKPT_RETURN_IF_ERROR(context.enter());
  CuStream stream = nullptr;
  CKPT_RETURN_IF_ERROR(context.driver().check(context.driver().stream_create(&stream, kCuStreamNonBlocking), "cuStreamCreate"));
  return std::unique_ptr<DeviceStream>(new CudaStream(context, stream));
}

CudaStream::~CudaStream() {
  if (context_.enter().ok()) context_.driver().stream_destroy(stream_);
}

Status CudaStream::copy_from_host(std::byte* destination, std::span<const std::byte> source) {
  CKPT_FAULT_POINT("sys.copy");
  if (source.empty()) return Status::success();
  CKPT_RETURN_IF_ERROR(context_.enter());
  const auto address = reinterpret_cast<CuDevicePtr>(destination);
  return context_.driver().check(context_.driver().copy_host_to_device(address, source.data(), source.size(), stream_), "cuMemcpyHtoDAsync");
}

Status CudaStream::copy_to_host(std::span<std::byte> destination, const std::byte* source) {
  CKPT_FAULT_POINT("sys.copy");
  if (destination.empty()) return Status::success();
  CKPT_RETURN_IF_ERROR(context_.enter());
  const auto address = reinterpret_cast<CuDevicePtr>(source);
  return context_.driver().check(context_.driver().copy_device_to_host(destination.data(), address, destination.size(), stream_),
                                 "cuMemcpyDtoHAsync");
}

Status CudaStream::wait_for(DeviceEvent& event) {
  CKPT_RETURN_IF_ERROR(context_.enter());
  return context_.driver().check(context_.driver().stream_wait_event(stream_, static_cast<CudaEvent&>(event).native(), 0), "cuStreamWaitEvent");
}

Result<std::unique_ptr<DeviceEvent>> CudaStream::record() {
  CKPT_ASSIGN_OR_RETURN(const CuEvent native, context_.take_event());
  auto event = std::make_unique<CudaEvent>(context_, native);
  CKPT_RETURN_IF_ERROR(context_.enter());
  CKPT_RETURN_IF_ERROR(context_.driver().check(context_.driver().event_record(native, stream_), "cuEventRecord"));
  return std::unique_ptr<DeviceEvent>(std::move(event));
}

}  // namespace ckpt
