// Calls on device memory, its handles for other processes, and host memory.
#include "cuda/driver_state.h"
#include "cuda/exports.h"

using namespace ckpt;        // NOLINT: the calls are C's
using namespace ckpt::fake;  // NOLINT

CuResult cuMemGetInfo_v2(std::size_t* free_bytes, std::size_t* total_bytes) {
  std::shared_ptr<Context> context;
  if (const CuResult result = begin_call("cuMemGetInfo", &context); result != kCuSuccess) return result;
  driver_state().memory.usage(*context->device, free_bytes, total_bytes);
  return kCuSuccess;
}

CuResult cuMemAlloc_v2(CuDevicePtr* address, std::size_t bytes) {
  std::shared_ptr<Context> context;
  if (const CuResult result = begin_call("cuMemAlloc", &context); result != kCuSuccess) return result;
  return driver_state().memory.allocate(*context->device, context.get(), bytes, address);
}

CuResult cuMemFree_v2(CuDevicePtr address) {
  std::shared_ptr<Context> context;
  if (const CuResult result = begin_call("cuMemFree", &context); result != kCuSuccess) return result;
  if (address == 0) return kCuSuccess;
  driver_state().finish_work_of(context);  // as CUDA does
  return driver_state().memory.take(address) ? kCuSuccess : kInvalidValue;
}

CuResult cuMemHostRegister_v2(void* address, std::size_t bytes, unsigned flags) {
  std::shared_ptr<Context> context;
  if (const CuResult result = begin_call("cuMemHostRegister", &context); result != kCuSuccess) return result;
  if ((flags & ~0xfu) != 0) return kInvalidValue;
  const bool read_only = (flags & kCuHostRegisterReadOnly) != 0;
  if (read_only && !driver_state().settings.read_only_registration) return kNotSupported;
  return driver_state().host.add(address, bytes, read_only);
}

CuResult cuMemHostUnregister(void* address) {
  std::shared_ptr<Context> context;
  if (const CuResult result = begin_call("cuMemHostUnregister", &context); result != kCuSuccess) return result;
  return driver_state().host.remove(address);
}

CuResult cuIpcGetMemHandle(CuIpcMemHandle* handle, CuDevicePtr address) {
  std::shared_ptr<Context> context;
  if (const CuResult result = begin_call("cuIpcGetMemHandle", &context); result != kCuSuccess) return result;
  return driver_state().memory.export_handle(address, handle);
}

CuResult cuIpcOpenMemHandle_v2(CuDevicePtr* address, CuIpcMemHandle handle, unsigned flags) {
  std::shared_ptr<Context> context;
  if (const CuResult result = begin_call("cuIpcOpenMemHandle", &context); result != kCuSuccess) return result;
  if (flags != kCuIpcLazyPeerAccess) return kInvalidValue;
  return driver_state().memory.open_handle(handle, context.get(), address);
}

CuResult cuIpcCloseMemHandle(CuDevicePtr address) {
  std::shared_ptr<Context> context;
  if (const CuResult result = begin_call("cuIpcCloseMemHandle", &context); result != kCuSuccess) return result;
  driver_state().finish_work_of(context);
  return driver_state().memory.close_handle(address);
}
