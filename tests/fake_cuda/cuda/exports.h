/// The exported names of libcuda.so.1, with the types that the product declares for them.
#pragma once

#include "device/cuda/cuda_driver.h"
#include "fake_cuda.h"

extern "C" {
FAKE_CUDA_API ckpt::CuResult cuInit(unsigned flags);
FAKE_CUDA_API ckpt::CuResult cuDriverGetVersion(int* version);
FAKE_CUDA_API ckpt::CuResult cuGetErrorName(ckpt::CuResult error, const char** name);
FAKE_CUDA_API ckpt::CuResult cuGetErrorString(ckpt::CuResult error, const char** text);
FAKE_CUDA_API ckpt::CuResult cuDeviceGetCount(int* count);
FAKE_CUDA_API ckpt::CuResult cuDeviceGet(ckpt::CuDevice* device, int ordinal);
FAKE_CUDA_API ckpt::CuResult cuDeviceGetName(char* name, int size, ckpt::CuDevice device);
FAKE_CUDA_API ckpt::CuResult cuDeviceGetUuid(ckpt::CuUuid* uuid, ckpt::CuDevice device);
FAKE_CUDA_API ckpt::CuResult cuDeviceGetUuid_v2(ckpt::CuUuid* uuid, ckpt::CuDevice device);
FAKE_CUDA_API ckpt::CuResult cuDeviceGetAttribute(int* value, int attribute, ckpt::CuDevice device);
FAKE_CUDA_API ckpt::CuResult cuDeviceTotalMem_v2(std::size_t* bytes, ckpt::CuDevice device);
FAKE_CUDA_API ckpt::CuResult cuDeviceGetPCIBusId(char* id, int size, ckpt::CuDevice device);
FAKE_CUDA_API ckpt::CuResult cuDevicePrimaryCtxRetain(ckpt::CuContext* context, ckpt::CuDevice device);
FAKE_CUDA_API ckpt::CuResult cuDevicePrimaryCtxRelease_v2(ckpt::CuDevice device);
FAKE_CUDA_API ckpt::CuResult cuCtxSetCurrent(ckpt::CuContext context);
FAKE_CUDA_API ckpt::CuResult cuMemGetInfo_v2(std::size_t* free_bytes, std::size_t* total_bytes);
FAKE_CUDA_API ckpt::CuResult cuMemAlloc_v2(ckpt::CuDevicePtr* address, std::size_t bytes);
FAKE_CUDA_API ckpt::CuResult cuMemFree_v2(ckpt::CuDevicePtr address);
FAKE_CUDA_API ckpt::CuResult cuMemHostRegister_v2(void* address, std::size_t bytes, unsigned flags);
FAKE_CUDA_API ckpt::CuResult cuMemHostUnregister(void* address);
FAKE_CUDA_API ckpt::CuResult cuMemcpyHtoDAsync_v2(ckpt::CuDevicePtr destination, const void* source, std::size_t bytes, ckpt::CuStream stream);
FAKE_CUDA_API ckpt::CuResult cuMemcpyDtoHAsync_v2(void* destination, ckpt::CuDevicePtr source, std::size_t bytes, ckpt::CuStream stream);
FAKE_CUDA_API ckpt::CuResult cuMemcpyDtoDAsync_v2(ckpt::CuDevicePtr destination, ckpt::CuDevicePtr source, std::size_t bytes, ckpt::CuStream stream);
FAKE_CUDA_API ckpt::CuResult cuStreamCreate(ckpt::CuStream* stream, unsigned flags);
FAKE_CUDA_API ckpt::CuResult cuStreamDestroy_v2(ckpt::CuStream stream);
FAKE_CUDA_API ckpt::CuResult cuStreamSynchronize(ckpt::CuStream stream);
FAKE_CUDA_API ckpt::CuResult cuStreamWaitEvent(ckpt::CuStream stream, ckpt::CuEvent event, unsigned flags);
FAKE_CUDA_API ckpt::CuResult cuEventCreate(ckpt::CuEvent* event, unsigned flags);
FAKE_CUDA_API ckpt::CuResult cuEventRecord(ckpt::CuEvent event, ckpt::CuStream stream);
FAKE_CUDA_API ckpt::CuResult cuEventQuery(ckpt::CuEvent event);
FAKE_CUDA_API ckpt::CuResult cuEventElapsedTime(float* milliseconds, ckpt::CuEvent begin, ckpt::CuEvent end);
FAKE_CUDA_API ckpt::CuResult cuEventDestroy_v2(ckpt::CuEvent event);
FAKE_CUDA_API ckpt::CuResult cuIpcGetMemHandle(ckpt::CuIpcMemHandle* handle, ckpt::CuDevicePtr address);
FAKE_CUDA_API ckpt::CuResult cuIpcOpenMemHandle_v2(ckpt::CuDevicePtr* address, ckpt::CuIpcMemHandle handle, unsigned flags);
FAKE_CUDA_API ckpt::CuResult cuIpcCloseMemHandle(ckpt::CuDevicePtr address);
}
