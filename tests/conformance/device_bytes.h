/// What lies in device memory, for tests: the product never reads it back.
#pragma once

#include <cstring>

#include "base/bytes.h"
#include "device/cuda/cuda_driver.h"
#include "device/device.h"

namespace ckpt::testing {

/// FNV-1a of 64 bits: for processes that tell each other what they see.
[[nodiscard]] inline std::uint64_t checksum(std::span<const std::byte> bytes) {
  std::uint64_t sum = 0xcbf29ce484222325u;
  for (const std::byte byte : bytes) sum = (sum ^ std::to_integer<std::uint64_t>(byte)) * 0x100000001b3u;
  return sum;
}

namespace internal {

/// Runs one copy of the driver's on a stream of its own, to its end.
template <typename Copy>
Status copy_now(Device& device, const char* name, Copy copy) {
  CKPT_ASSIGN_OR_RETURN(const CudaDriver* cuda, load_cuda_driver());
  CKPT_RETURN_IF_ERROR(device.use_on_this_thread());
  CuStream stream = nullptr;
  CKPT_RETURN_IF_ERROR(cuda->check(cuda->stream_create(&stream, kCuStreamNonBlocking), "cuStreamCreate"));
  Status status = cuda->check(copy(*cuda, stream), name);
  if (status.ok()) status = cuda->check(cuda->stream_synchronize(stream), "cuStreamSynchronize");
  cuda->stream_destroy(stream);
  return status;
}

}  // namespace internal

/// `bytes` from the device address `from` on; all work before must be done.
[[nodiscard]] inline Result<Bytes> read_device(Device& device, const std::byte* from, std::size_t bytes) {
  Bytes read(bytes);
  if (bytes == 0) return read;  // Nothing to read may lie nowhere, and memcpy takes no null pointer.
  if (device.host_addressable()) {
    std::memcpy(read.data(), from, bytes);
    return read;
  }
  CKPT_RETURN_IF_ERROR(internal::copy_now(device, "cuMemcpyDtoHAsync", [&](const CudaDriver& cuda, CuStream stream) {
    return cuda.copy_device_to_host(read.data(), reinterpret_cast<CuDevicePtr>(from), bytes, stream);
  }));
  return read;
}

[[nodiscard]] inline Status write_device(Device& device, std::byte* to, std::span<const std::byte> bytes) {
  if (bytes.empty()) return Status::success();
  if (device.host_addressable()) {
    std::memcpy(to, bytes.data(), bytes.size());
    return Status::success();
  }
  return internal::copy_now(device, "cuMemcpyHtoDAsync", [&](const CudaDriver& cuda, CuStream stream) {
    return cuda.copy_host_to_device(reinterpret_cast<CuDevicePtr>(to), bytes.data(), bytes.size(), stream);
  });
}

}  // namespace ckpt::testing
