// Another process on the software GPU. What it finds goes to standard output, a line each; "error N" for a failed call.
//   devices | allocate BYTES (and waits to be killed) | allocate_and_exit BYTES | open NAME BYTES | join ID RANK NUM_RANKS
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "cuda/device_table.h"
#include "cuda/exports.h"
#include "nccl/nccl_exports.h"
#include "tests/ready.h"

namespace ckpt::fake {
namespace {

void check(CuResult result) {
  if (result == kCuSuccess) return;
  std::printf("error %d\n", result);
  std::exit(0);
}

void begin() {
  CuContext context = nullptr;
  check(cuInit(0));
  check(cuDevicePrimaryCtxRetain(&context, 0));
  check(cuCtxSetCurrent(context));
}

void list_devices() {
  int count = 0;
  check(cuInit(0));
  check(cuDeviceGetCount(&count));
  for (int i = 0; i < count; ++i) {
    CuUuid gpu;
    CuUuid slice;
    std::size_t bytes = 0;
    char bus[32];
    char name[64];
    check(cuDeviceGetUuid(&gpu, i));
    check(cuDeviceGetUuid_v2(&slice, i));
    check(cuDeviceTotalMem_v2(&bytes, i));
    check(cuDeviceGetPCIBusId(bus, sizeof bus, i));
    check(cuDeviceGetName(name, sizeof name, i));
    std::printf("%s %s %zu %s %s\n", uuid_text(gpu).c_str(), uuid_text(slice).c_str(), bytes, bus, name);
  }
}

void allocate(std::size_t bytes) {
  begin();
  CuDevicePtr address = 0;
  CuIpcMemHandle handle;
  check(cuMemAlloc_v2(&address, bytes));
  check(cuIpcGetMemHandle(&handle, address));
  std::puts(handle.bytes.data());
  std::fflush(stdout);
}

void open(const std::string& name, std::size_t bytes) {
  begin();
  CuIpcMemHandle handle{};
  name.copy(handle.bytes.data(), handle.bytes.size());
  CuDevicePtr address = 0;
  CuStream stream = nullptr;
  std::string text(bytes, '\0');
  check(cuIpcOpenMemHandle_v2(&address, handle, kCuIpcLazyPeerAccess));
  check(cuStreamCreate(&stream, kCuStreamNonBlocking));
  check(cuMemcpyDtoHAsync_v2(text.data(), address, bytes, stream));
  check(cuIpcCloseMemHandle(address));
  std::puts(text.c_str());
}

/// Takes part in one all-gather of 4 bytes a rank, "r<rank>..", and prints what it has then. Killed before it, with "die" for a rank.
void join(const std::string& name, int rank, int num_ranks) {
  begin();
  NcclUniqueId id{};
  name.copy(id.bytes.data(), id.bytes.size());
  NcclConfig config;
  config.blocking = 0;
  NcclComm comm = nullptr;
  if (ncclCommInitRankConfig(&comm, num_ranks, id, rank, &config) != NcclResult::in_progress || !becomes_ready(comm)) std::exit(1);
  CuDevicePtr address = 0;
  CuStream stream = nullptr;
  check(cuMemAlloc_v2(&address, static_cast<std::size_t>(num_ranks) * 4));
  check(cuStreamCreate(&stream, kCuStreamNonBlocking));
  const std::string own = "r" + std::to_string(rank) + "..";
  check(cuMemcpyHtoDAsync_v2(address + static_cast<unsigned>(rank) * 4u, own.data(), 4, stream));
  auto* base = reinterpret_cast<std::byte*>(address);
  ncclAllGather(base + rank * 4, base, 4, kNcclUint8, comm, stream);
  if (!becomes_ready(comm)) std::exit(1);
  std::string all(static_cast<std::size_t>(num_ranks) * 4, '\0');
  check(cuMemcpyDtoHAsync_v2(all.data(), address, all.size(), stream));
  check(cuStreamSynchronize(stream));
  std::puts(all.c_str());
  ncclCommAbort(comm);
}

int run(int argc, char** argv) {
  const std::string role = argc > 1 ? argv[1] : "";
  if (role == "devices") list_devices();
  if (role.starts_with("allocate")) allocate(std::strtoull(argv[2], nullptr, 10));
  if (role == "allocate") ::pause();
  if (role == "open") open(argv[2], std::strtoull(argv[3], nullptr, 10));
  if (role == "join") join(argv[2], std::atoi(argv[3]), std::atoi(argv[4]));
  return 0;
}

}  // namespace
}  // namespace ckpt::fake

int main(int argc, char** argv) { return ckpt::fake::run(argc, argv); }
