#include "device/cuda/peer_buffer.h"

#include <algorithm>

#include "base/fault_point.h"
#include "device/cuda/cuda_identity.h"
#include "device/cuda/cuda_stream.h"

namespace ckpt {
namespace {

class OpenedBuffer final : public PeerBuffer {
 public:
  OpenedBuffer(const CudaDriver& driver, CuDevice device, CuContext context) : context_(driver, device, context) {}
  ~OpenedBuffer() override {
    stream_.reset();
    if (address_ != 0 && context_.enter().ok()) context_.driver().ipc_close_handle(address_);
  }
  OpenedBuffer(const OpenedBuffer&) = delete;
  OpenedBuffer& operator=(const OpenedBuffer&) = delete;

  [[nodiscard]] Status attach(std::string_view handle) {
    CKPT_ASSIGN_OR_RETURN(stream_, CudaStream::create(context_));
    CKPT_RETURN_IF_ERROR(context_.enter());
    CKPT_FAULT_POINT("sys.ipc_open");
    CuIpcMemHandle raw{};
    std::copy(handle.begin(), handle.end(), raw.bytes.begin());
    return context_.driver()
        .check(context_.driver().ipc_open_handle(&address_, raw, kCuIpcLazyPeerAccess), "cuIpcOpenMemHandle")
        .advise("sender and engine must share the host's IPC and PID namespaces");
  }

  [[nodiscard]] Status copy_to_host(std::span<std::byte> destination, std::uint64_t offset_bytes, Deadline deadline,
                                    const AbortSignal& abort) override {
    if (destination.empty()) return Status::success();
    CKPT_RETURN_IF_ERROR(context_.enter());
    const CudaDriver& cuda = context_.driver();
    CKPT_RETURN_IF_ERROR(cuda.check(cuda.copy_device_to_host(destination.data(), address_ + offset_bytes, destination.size(), stream_->native()),
                                    "cuMemcpyDtoHAsync"));
    CKPT_ASSIGN_OR_RETURN(const auto copied, stream_->record());
    return copied->wait(deadline, abort);
  }

 private:
  CudaContext context_;
  std::unique_ptr<DeviceStream> stream_;
  CuDevicePtr address_ = 0;
};

Result<CuDevice> find_device(const CudaDriver& cuda, const std::string& key) {
  int count = 0;
  CKPT_RETURN_IF_ERROR(cuda.check(cuda.device_count(&count), "cuDeviceGetCount"));
  for (int i = 0; i < count; ++i) {
    CKPT_ASSIGN_OR_RETURN(const CudaIdentity identity, identify_cuda_device(cuda, i));
    if (identity.uuid == key) return identity.device;
  }
  return Status(StatusCode::not_found, Scope::process, "the sender's slots are on {}, and none of the {} GPU(s) seen here is that", key, count)
      .advise("start the engine with a CUDA_VISIBLE_DEVICES that names it, or without");
}

}  // namespace

Result<std::unique_ptr<PeerBuffer>> PeerBuffer::open(const std::string& device_key, std::string_view handle) {
  if (handle.size() != sizeof(CuIpcMemHandle))
    return Status(StatusCode::data_corruption, Scope::peer, "a handle of GPU memory has {} bytes instead of {}", handle.size(),
                  sizeof(CuIpcMemHandle));
  CKPT_ASSIGN_OR_RETURN(const CudaDriver* cuda, load_cuda_driver());
  CKPT_ASSIGN_OR_RETURN(const CuDevice device, find_device(*cuda, device_key));
  CuContext context = nullptr;
  CKPT_RETURN_IF_ERROR(cuda->check(cuda->primary_context_retain(&context, device), "cuDevicePrimaryCtxRetain").with_note("{}", device_key));
  auto buffer = std::make_unique<OpenedBuffer>(*cuda, device, context);
  CKPT_RETURN_IF_ERROR(buffer->attach(handle));
  return std::unique_ptr<PeerBuffer>(std::move(buffer));
}

}  // namespace ckpt
