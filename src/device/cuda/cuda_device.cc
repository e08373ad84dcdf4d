#include "device/cuda/cuda_device.h"

#include <algorithm>
#include <cstdlib>

#include "base/bytes.h"
#include "base/check.h"
#include "base/fault_point.h"
#include "base/thread_annotations.h"
#include "device/cuda/cuda_identity.h"
#include "device/cuda/cuda_stream.h"

namespace ckpt {
namespace {

/// Smaller allocations share a block of this size, and an IPC handle exports the whole block.
constexpr std::uint64_t kOwnBlock = 2 * MiB;
/// One registration above about 512 GiB fails and leaves the context with an error (vllm-project/vllm#51080).
constexpr std::uint64_t kMaxRegistration = 64 * GiB;

Result<CudaIdentity> choose(const CudaDriver& cuda, const CudaDeviceOptions& options) {
  int count = 0;
  CKPT_RETURN_IF_ERROR(cuda.check(cuda.device_count(&count), "cuDeviceGetCount"));
  for (int i = 0; i < count && !options.uuid.empty(); ++i) {
    CKPT_ASSIGN_OR_RETURN(CudaIdentity identity, identify_cuda_device(cuda, i));
    if (identity.uuid == options.uuid) return identity;
  }
  if (options.ordinal < 0 || options.ordinal >= count)
    return Status(StatusCode::invalid_argument, Scope::operation, "GPU {} is asked for, and this process sees {}", options.ordinal, count)
        .advise("start no more ranks on a host than it has GPUs, and check CUDA_VISIBLE_DEVICES");
  CKPT_ASSIGN_OR_RETURN(CudaIdentity identity, identify_cuda_device(cuda, options.ordinal));
  if (options.uuid.empty() && identity.slice)
    return Status(StatusCode::unsupported, Scope::operation,
                  "GPU {} is a slice of a divided GPU (MIG, {}): engines do not agree on how such a slice is named", options.ordinal, identity.uuid)
        .advise("give --device-uuid with the name that the engine's worker looks up");
  if (!options.uuid.empty()) identity.uuid = options.uuid;
  return identity;
}

/// The slots. Exported at once: a handle that cannot be had is an error before anything starts.
class CudaBuffer final : public DeviceBuffer {
 public:
  CudaBuffer(CudaContext& context, CuDevicePtr address, std::uint64_t bytes) : context_(context), address_(address), bytes_(bytes) {}
  ~CudaBuffer() override {
    if (context_.enter().ok()) context_.driver().memory_free(address_);
  }
  CudaBuffer(const CudaBuffer&) = delete;
  CudaBuffer& operator=(const CudaBuffer&) = delete;

  [[nodiscard]] Status take_handle() {
    CKPT_FAULT_POINT("sys.ipc_handle");
    return context_.driver()
        .check(context_.driver().ipc_get_handle(&handle_, address_), "cuIpcGetMemHandle")
        .advise("engines map the slots by CUDA IPC: containers must share the host's IPC and PID namespaces");
  }
  // NOLINTNEXTLINE(performance-no-int-to-ptr): a device address is a number
  [[nodiscard]] std::byte* data() override { return reinterpret_cast<std::byte*>(address_); }
  [[nodiscard]] std::uint64_t bytes() const override { return bytes_; }
  [[nodiscard]] ExportedBuffer exported() const override { return {std::string(handle_.bytes.data(), handle_.bytes.size()), -1, bytes_}; }

 private:
  CudaContext& context_;
  CuDevicePtr address_;
  std::uint64_t bytes_;
  CuIpcMemHandle handle_{};
};

class CudaDevice final : public Device {
 public:
  CudaDevice(const CudaDriver& driver, CuDevice device, CuContext context, std::string key)
      : context_(driver, device, context), driver_(driver), key_(std::move(key)) {}

  [[nodiscard]] std::string_view kind() const override { return "cuda"; }
  [[nodiscard]] const std::string& key() const override { return key_; }
  [[nodiscard]] bool host_addressable() const override { return false; }
  [[nodiscard]] Status use_on_this_thread() override { return context_.enter(); }
  [[nodiscard]] Result<std::unique_ptr<DeviceStream>> create_stream() override { return CudaStream::create(context_); }

  [[nodiscard]] Result<DeviceMemory> memory() const override {
    CKPT_RETURN_IF_ERROR(context_.enter());
    std::size_t free_bytes = 0;
    std::size_t total_bytes = 0;
    CKPT_RETURN_IF_ERROR(driver_.check(driver_.memory_info(&free_bytes, &total_bytes), "cuMemGetInfo"));
    return DeviceMemory{free_bytes, total_bytes};
  }

  [[nodiscard]] Result<std::unique_ptr<DeviceBuffer>> allocate(std::uint64_t bytes) override {
    CKPT_CHECK(bytes > 0 && bytes % kTensorAlignment == 0);
    CKPT_FAULT_POINT("sys.device_memory");
    CKPT_RETURN_IF_ERROR(context_.enter());
    CuDevicePtr address = 0;
    const CuResult result = driver_.memory_allocate(&address, align_up(bytes, kOwnBlock));
    if (result == kCuOutOfMemory) return no_memory(bytes);
    CKPT_RETURN_IF_ERROR(driver_.check(result, "cuMemAlloc"));
    auto buffer = std::make_unique<CudaBuffer>(context_, address, bytes);
    CKPT_RETURN_IF_ERROR(buffer->take_handle());
    return std::unique_ptr<DeviceBuffer>(std::move(buffer));
  }

  [[nodiscard]] Status register_host(std::span<std::byte> memory, Access access) override {
    CKPT_FAULT_POINT("sys.register_host");
    CKPT_RETURN_IF_ERROR(context_.enter());
    const unsigned flags = kCuHostRegisterPortable | (access == Access::read_only ? kCuHostRegisterReadOnly : 0);
    for (std::uint64_t done = 0; done < memory.size(); done += kMaxRegistration) {
      const std::uint64_t bytes = std::min<std::uint64_t>(memory.size() - done, kMaxRegistration);
      const Status status = driver_.check(register_in_turn(memory.data() + done, bytes, flags), "cuMemHostRegister");
      if (status.ok()) continue;
      unregister_host(memory.first(done));
      return status.with_note("{} bytes of host memory", bytes)
          .advise(access == Access::read_only ? "this GPU may be unable to register read-only memory: leave out --adopt"
                                              : "pinning may be bounded: see `ckpt-engine doctor` for memlock and free memory");
    }
    return Status::success();
  }
  void unregister_host(std::span<std::byte> memory) noexcept override {
    if (!context_.enter().ok()) return;
    for (std::uint64_t done = 0; done < memory.size(); done += kMaxRegistration) driver_.host_unregister(memory.data() + done);
  }

  [[nodiscard]] std::string pci_bus_id() const override { return pci_bus_id_of(driver_, context_.device()); }

 private:
  /// The driver registers one piece at a time anyway; threads that wait for that inside it spin, and keep NCCL's own calls from their turn.
  CuResult register_in_turn(std::byte* memory, std::uint64_t bytes, unsigned flags) CKPT_EXCLUDES(registering_) {
    const MutexLock lock(registering_);
    return driver_.host_register(memory, bytes, flags);
  }
  Status no_memory(std::uint64_t bytes) const {
    const Result<DeviceMemory> now = memory();
    const std::uint64_t free_bytes = now.ok() ? now->free_bytes : 0;
    return Status(StatusCode::resource_exhausted, Scope::operation, "{} bytes for the slots on {}: {} bytes are free, {} are missing", bytes, key_,
                  free_bytes, bytes > free_bytes ? bytes - free_bytes : 0)
        .advise("free memory on that GPU, or lower --memory-limit or --bucket-size");
  }

  CudaContext context_;
  const CudaDriver& driver_;
  std::string key_;
  Mutex registering_;
};

}  // namespace

Result<std::unique_ptr<Device>> make_cuda_device(const CudaDeviceOptions& options) {
  CKPT_ASSIGN_OR_RETURN(const CudaDriver* driver, load_cuda_driver());
  CKPT_ASSIGN_OR_RETURN(const CudaIdentity identity, choose(*driver, options));
  CuContext context = nullptr;
  CKPT_RETURN_IF_ERROR(driver->check(driver->primary_context_retain(&context, identity.device), "cuDevicePrimaryCtxRetain")
                           .with_note("{}", identity.uuid)
                           .advise("another process may use the GPU alone (compute mode), or its memory may be full"));
  return std::unique_ptr<Device>(new CudaDevice(*driver, identity.device, context, identity.uuid));
}

Result<int> cuda_device_count() {
  CKPT_ASSIGN_OR_RETURN(const CudaDriver* driver, load_cuda_driver());
  int count = 0;
  CKPT_RETURN_IF_ERROR(driver->check(driver->device_count(&count), "cuDeviceGetCount"));
  return count;
}

}  // namespace ckpt
