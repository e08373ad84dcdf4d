// Another process that opens a buffer by its CUDA IPC handle, as an engine's worker does, and prints the checksum of what it sees.
// Usage: handle_reader HANDLE (128 hexadecimal digits) BYTES
#include <cstdio>
#include <cstdlib>

#include "conformance/device_bytes.h"
#include "device/cuda/cuda_device.h"

namespace ckpt {
namespace {

Status print_checksum(const std::string& digits, std::size_t bytes) {
  CKPT_ASSIGN_OR_RETURN(const auto device, make_cuda_device({0, ""}));
  CKPT_ASSIGN_OR_RETURN(const CudaDriver* cuda, load_cuda_driver());
  CKPT_RETURN_IF_ERROR(device->use_on_this_thread());
  CuIpcMemHandle handle{};
  for (std::size_t i = 0; i < handle.bytes.size(); ++i) handle.bytes[i] = static_cast<char>(std::stoi(digits.substr(i * 2, 2), nullptr, 16));
  CuDevicePtr address = 0;
  CKPT_RETURN_IF_ERROR(cuda->check(cuda->ipc_open_handle(&address, handle, kCuIpcLazyPeerAccess), "cuIpcOpenMemHandle"));
  CKPT_ASSIGN_OR_RETURN(const Bytes seen, testing::read_device(*device, reinterpret_cast<const std::byte*>(address), bytes));
  std::printf("%016llx\n", static_cast<unsigned long long>(testing::checksum(seen)));
  return cuda->check(cuda->ipc_close_handle(address), "cuIpcCloseMemHandle");
}

}  // namespace
}  // namespace ckpt

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const ckpt::Status status = ckpt::print_checksum(argv[1], std::strtoull(argv[2], nullptr, 10));
  if (!status.ok()) std::puts(status.to_string().c_str());
  return status.ok() ? 0 : 1;
}
