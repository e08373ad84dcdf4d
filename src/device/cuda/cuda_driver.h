/// The part of the CUDA driver API that this project calls, loaded at run time: a build needs no toolkit, and one binary runs with and without GPUs.
///
/// Types and values are those of cuda.h, CUDA 12.0 and later, whose ABI the driver keeps. Names without the suffix _v2 are looked up with it where
/// cuda.h does so.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "ckpt/result.h"

namespace ckpt {

using CuResult = int;
using CuDevice = int;
using CuContext = void*;
using CuStream = void*;
using CuEvent = void*;
using CuDevicePtr = unsigned long long;
struct CuUuid {
  std::array<unsigned char, 16> bytes;
};
struct CuIpcMemHandle {
  std::array<char, 64> bytes;
};

inline constexpr CuResult kCuSuccess = 0;
inline constexpr CuResult kCuOutOfMemory = 2;
inline constexpr CuResult kCuNoDevice = 100;
inline constexpr CuResult kCuNotReady = 600;
inline constexpr CuResult kCuAlreadyRegistered = 712;
inline constexpr unsigned kCuStreamNonBlocking = 1;
inline constexpr unsigned kCuHostRegisterPortable = 1;
inline constexpr unsigned kCuHostRegisterReadOnly = 8;
inline constexpr unsigned kCuIpcLazyPeerAccess = 1;
inline constexpr int kCuAttributeReadOnlyHostRegister = 113;
inline constexpr int kCuAttributeIntegrated = 18;

/// The calls. All are there once loaded, but those marked optional.
struct CudaDriver {
  CuResult (*init)(unsigned flags);
  CuResult (*driver_version)(int* version);
  CuResult (*error_name)(CuResult error, const char** name);
  CuResult (*error_string)(CuResult error, const char** text);
  CuResult (*device_count)(int* count);
  CuResult (*device_get)(CuDevice* device, int ordinal);
  CuResult (*device_name)(char* name, int size, CuDevice device);
  CuResult (*device_uuid)(CuUuid* uuid, CuDevice device);     ///< of the slice where the GPU is divided (MIG)
  CuResult (*device_uuid_v1)(CuUuid* uuid, CuDevice device);  ///< of the GPU
  CuResult (*device_attribute)(int* value, int attribute, CuDevice device);
  CuResult (*device_total_memory)(std::size_t* bytes, CuDevice device);
  CuResult (*device_pci_bus_id)(char* id, int size, CuDevice device);
  CuResult (*primary_context_retain)(CuContext* context, CuDevice device);
  CuResult (*primary_context_release)(CuDevice device);
  CuResult (*context_set_current)(CuContext context);
  CuResult (*memory_info)(std::size_t* free_bytes, std::size_t* total_bytes);
  CuResult (*memory_allocate)(CuDevicePtr* address, std::size_t bytes);
  CuResult (*memory_free)(CuDevicePtr address);
  CuResult (*host_register)(void* address, std::size_t bytes, unsigned flags);
  CuResult (*host_unregister)(void* address);
  CuResult (*copy_host_to_device)(CuDevicePtr destination, const void* source, std::size_t bytes, CuStream stream);
  CuResult (*copy_device_to_host)(void* destination, CuDevicePtr source, std::size_t bytes, CuStream stream);
  CuResult (*copy_device_to_device)(CuDevicePtr destination, CuDevicePtr source, std::size_t bytes, CuStream stream);
  CuResult (*stream_create)(CuStream* stream, unsigned flags);
  CuResult (*stream_destroy)(CuStream stream);
  CuResult (*stream_synchronize)(CuStream stream);
  CuResult (*stream_wait_event)(CuStream stream, CuEvent event, unsigned flags);
  CuResult (*event_create)(CuEvent* event, unsigned flags);
  CuResult (*event_record)(CuEvent event, CuStream stream);
  CuResult (*event_query)(CuEvent event);
  CuResult (*event_elapsed_time)(float* milliseconds, CuEvent begin, CuEvent end);
  CuResult (*event_destroy)(CuEvent event);
  CuResult (*ipc_get_handle)(CuIpcMemHandle* handle, CuDevicePtr address);
  CuResult (*ipc_open_handle)(CuDevicePtr* address, CuIpcMemHandle handle, unsigned flags);
  CuResult (*ipc_close_handle)(CuDevicePtr address);

  /// "cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY: out of memory" as a Status: resource_exhausted for missing memory, else internal; ok for success.
  [[nodiscard]] Status check(CuResult result, std::string_view call) const;
};

/// Loads libcuda.so.1 and initialises it, once a process; lives until the process ends. Thread-safe.
///   unsupported: there is no driver, it is too old (the missing call is named), or it finds no GPU
[[nodiscard]] Result<const CudaDriver*> load_cuda_driver();

}  // namespace ckpt
