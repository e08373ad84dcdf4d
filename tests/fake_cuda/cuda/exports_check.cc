// The exported calls have the types that the product calls them with.
#include <type_traits>

#include "cuda/exports.h"

namespace ckpt::fake {
namespace {

template <auto Exported, typename Declared>
constexpr bool fits = std::is_same_v<decltype(Exported), Declared>;  // NOLINT: as a type trait

static_assert(fits<&cuInit, decltype(CudaDriver::init)>);
static_assert(fits<&cuDriverGetVersion, decltype(CudaDriver::driver_version)>);
static_assert(fits<&cuGetErrorName, decltype(CudaDriver::error_name)>);
static_assert(fits<&cuGetErrorString, decltype(CudaDriver::error_string)>);
static_assert(fits<&cuDeviceGetCount, decltype(CudaDriver::device_count)>);
static_assert(fits<&cuDeviceGet, decltype(CudaDriver::device_get)>);
static_assert(fits<&cuDeviceGetName, decltype(CudaDriver::device_name)>);
static_assert(fits<&cuDeviceGetUuid_v2, decltype(CudaDriver::device_uuid)>);
static_assert(fits<&cuDeviceGetUuid, decltype(CudaDriver::device_uuid_v1)>);
static_assert(fits<&cuDeviceGetAttribute, decltype(CudaDriver::device_attribute)>);
static_assert(fits<&cuDeviceTotalMem_v2, decltype(CudaDriver::device_total_memory)>);
static_assert(fits<&cuDeviceGetPCIBusId, decltype(CudaDriver::device_pci_bus_id)>);
static_assert(fits<&cuDevicePrimaryCtxRetain, decltype(CudaDriver::primary_context_retain)>);
static_assert(fits<&cuDevicePrimaryCtxRelease_v2, decltype(CudaDriver::primary_context_release)>);
static_assert(fits<&cuCtxSetCurrent, decltype(CudaDriver::context_set_current)>);
static_assert(fits<&cuMemGetInfo_v2, decltype(CudaDriver::memory_info)>);
static_assert(fits<&cuMemAlloc_v2, decltype(CudaDriver::memory_allocate)>);
static_assert(fits<&cuMemFree_v2, decltype(CudaDriver::memory_free)>);
static_assert(fits<&cuMemHostRegister_v2, decltype(CudaDriver::host_register)>);
static_assert(fits<&cuMemHostUnregister, decltype(CudaDriver::host_unregister)>);
static_assert(fits<&cuMemcpyHtoDAsync_v2, decltype(CudaDriver::copy_host_to_device)>);
static_assert(fits<&cuMemcpyDtoHAsync_v2, decltype(CudaDriver::copy_device_to_host)>);
static_assert(fits<&cuMemcpyDtoDAsync_v2, decltype(CudaDriver::copy_device_to_device)>);
static_assert(fits<&cuStreamCreate, decltype(CudaDriver::stream_create)>);
static_assert(fits<&cuStreamDestroy_v2, decltype(CudaDriver::stream_destroy)>);
static_assert(fits<&cuStreamSynchronize, decltype(CudaDriver::stream_synchronize)>);
static_assert(fits<&cuStreamWaitEvent, decltype(CudaDriver::stream_wait_event)>);
static_assert(fits<&cuEventCreate, decltype(CudaDriver::event_create)>);
static_assert(fits<&cuEventRecord, decltype(CudaDriver::event_record)>);
static_assert(fits<&cuEventQuery, decltype(CudaDriver::event_query)>);
static_assert(fits<&cuEventElapsedTime, decltype(CudaDriver::event_elapsed_time)>);
static_assert(fits<&cuEventDestroy_v2, decltype(CudaDriver::event_destroy)>);
static_assert(fits<&cuIpcGetMemHandle, decltype(CudaDriver::ipc_get_handle)>);
static_assert(fits<&cuIpcOpenMemHandle_v2, decltype(CudaDriver::ipc_open_handle)>);
static_assert(fits<&cuIpcCloseMemHandle, decltype(CudaDriver::ipc_close_handle)>);

}  // namespace
}  // namespace ckpt::fake
