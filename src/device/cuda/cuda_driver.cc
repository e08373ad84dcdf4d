#include "device/cuda/cuda_driver.h"

#include <dlfcn.h>

#include "base/fault_point.h"
#include "base/thread_annotations.h"

namespace ckpt {
namespace {

constexpr const char* kLibrary = "libcuda.so.1";

struct Symbol {
  const char* name;
  void** place;
};

/// The name of the first call that the library lacks; null when all are there.
const char* look_up(void* library, CudaDriver& cuda) {
  const Symbol symbols[] = {
      {"cuInit", reinterpret_cast<void**>(&cuda.init)},
      {"cuDriverGetVersion", reinterpret_cast<void**>(&cuda.driver_version)},
      {"cuGetErrorName", reinterpret_cast<void**>(&cuda.error_name)},
      {"cuGetErrorString", reinterpret_cast<void**>(&cuda.error_string)},
      {"cuDeviceGetCount", reinterpret_cast<void**>(&cuda.device_count)},
      {"cuDeviceGet", reinterpret_cast<void**>(&cuda.device_get)},
      {"cuDeviceGetName", reinterpret_cast<void**>(&cuda.device_name)},
      {"cuDeviceGetUuid_v2", reinterpret_cast<void**>(&cuda.device_uuid)},
      {"cuDeviceGetUuid", reinterpret_cast<void**>(&cuda.device_uuid_v1)},
      {"cuDeviceGetAttribute", reinterpret_cast<void**>(&cuda.device_attribute)},
      {"cuDeviceTotalMem_v2", reinterpret_cast<void**>(&cuda.device_total_memory)},
      {"cuDeviceGetPCIBusId", reinterpret_cast<void**>(&cuda.device_pci_bus_id)},
      {"cuDevicePrimaryCtxRetain", reinterpret_cast<void**>(&cuda.primary_context_retain)},
      {"cuDevicePrimaryCtxRelease_v2", reinterpret_cast<void**>(&cuda.primary_context_release)},
      {"cuCtxSetCurrent", reinterpret_cast<void**>(&cuda.context_set_current)},
      {"cuMemGetInfo_v2", reinterpret_cast<void**>(&cuda.memory_info)},
      {"cuMemAlloc_v2", reinterpret_cast<void**>(&cuda.memory_allocate)},
      {"cuMemFree_v2", reinterpret_cast<void**>(&cuda.memory_free)},
      {"cuMemHostRegister_v2", reinterpret_cast<void**>(&cuda.host_register)},
      {"cuMemHostUnregister", reinterpret_cast<void**>(&cuda.host_unregister)},
      {"cuMemcpyHtoDAsync_v2", reinterpret_cast<void**>(&cuda.copy_host_to_device)},
      {"cuMemcpyDtoHAsync_v2", reinterpret_cast<void**>(&cuda.copy_device_to_host)},
      {"cuMemcpyDtoDAsync_v2", reinterpret_cast<void**>(&cuda.copy_device_to_device)},
      {"cuStreamCreate", reinterpret_cast<void**>(&cuda.stream_create)},
      {"cuStreamDestroy_v2", reinterpret_cast<void**>(&cuda.stream_destroy)},
      {"cuStreamSynchronize", reinterpret_cast<void**>(&cuda.stream_synchronize)},
      {"cuStreamWaitEvent", reinterpret_cast<void**>(&cuda.stream_wait_event)},
      {"cuEventCreate", reinterpret_cast<void**>(&cuda.event_create)},
      {"cuEventRecord", reinterpret_cast<void**>(&cuda.event_record)},
      {"cuEventQuery", reinterpret_cast<void**>(&cuda.event_query)},
      {"cuEventElapsedTime", reinterpret_cast<void**>(&cuda.event_elapsed_time)},
      {"cuEventDestroy_v2", reinterpret_cast<void**>(&cuda.event_destroy)},
      {"cuIpcGetMemHandle", reinterpret_cast<void**>(&cuda.ipc_get_handle)},
      {"cuIpcOpenMemHandle_v2", reinterpret_cast<void**>(&cuda.ipc_open_handle)},
      {"cuIpcCloseMemHandle", reinterpret_cast<void**>(&cuda.ipc_close_handle)},
  };
  for (const Symbol& symbol : symbols) {
    *symbol.place = ::dlsym(library, symbol.name);
    if (*symbol.place == nullptr) return symbol.name;
  }
  return nullptr;
}

Status load(CudaDriver& cuda) {
  CKPT_FAULT_POINT("sys.dlopen");
  void* library = ::dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);  // never closed: the driver does not survive that
  if (library == nullptr) {
    const char* reason = ::dlerror();
    return Status(StatusCode::unsupported, Scope::process, "the CUDA driver cannot be loaded: {}", reason != nullptr ? reason : kLibrary)
        .advise("install NVIDIA's driver, or use --device host");
  }
  if (const char* missing = look_up(library, cuda); missing != nullptr)
    return Status(StatusCode::unsupported, Scope::process, "{} has no {}: the driver is older than CUDA 12.0", kLibrary, missing)
        .advise("install a newer driver, or use --device host");
  const CuResult result = cuda.init(0);
  if (result != kCuSuccess) return {StatusCode::unsupported, Scope::process, "{}", cuda.check(result, "cuInit").message()};
  int count = 0;
  CKPT_RETURN_IF_ERROR(cuda.check(cuda.device_count(&count), "cuDeviceGetCount"));
  if (count > 0) return Status::success();
  return {StatusCode::unsupported, Scope::process, "the CUDA driver finds no GPU (CUDA_VISIBLE_DEVICES may hide them)"};
}

}  // namespace

Status CudaDriver::check(CuResult result, std::string_view call) const {
  if (result == kCuSuccess) return Status::success();
  const char* code = nullptr;
  const char* text = nullptr;
  if (error_name(result, &code) != kCuSuccess) code = "an unknown error";
  if (error_string(result, &text) != kCuSuccess) text = "no text";
  const StatusCode kind = result == kCuOutOfMemory ? StatusCode::resource_exhausted : StatusCode::internal;
  return {kind, Scope::operation, "{}: {} ({}): {}", call, code, result, text};
}

Result<const CudaDriver*> load_cuda_driver() {
  static Mutex mutex;
  static CudaDriver cuda;
  static bool loaded = false;
  const MutexLock lock(mutex);
  if (!loaded) CKPT_RETURN_IF_ERROR(load(cuda));  // a failure is tried again: the fault tests inject some
  loaded = true;
  return &cuda;
}

}  // namespace ckpt
