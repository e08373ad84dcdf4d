/// Ranks of a communicator as threads of one test, each with a GPU's context, a stream and a buffer.
#pragma once

#include <functional>
#include <thread>

#include "nccl/nccl_exports.h"
#include "tests/gpu_fixture.h"
#include "tests/ready.h"

namespace ckpt::fake {

class NcclTest : public GpuTest {
 protected:
  static NcclUniqueId new_id() {
    NcclUniqueId id{};
    EXPECT_EQ(ncclGetUniqueId(&id), NcclResult::success);
    return id;
  }
  static NcclConfig non_blocking() {
    NcclConfig config;
    config.blocking = 0;
    return config;
  }
  static NcclComm start(const NcclUniqueId& id, int rank, int num_ranks) {
    NcclComm comm = nullptr;
    NcclConfig config = non_blocking();
    EXPECT_EQ(ncclCommInitRankConfig(&comm, num_ranks, id, rank, &config), NcclResult::in_progress);
    return comm;
  }
  static NcclResult state_of(NcclComm comm) {
    NcclResult state = NcclResult::internal_error;
    EXPECT_EQ(ncclCommGetAsyncError(comm, &state), NcclResult::success);
    return state;
  }

  struct Rank {
    int rank;
    NcclComm comm;
    CuStream stream;
    CuDevicePtr address;
    [[nodiscard]] std::byte* at(std::size_t offset) const { return reinterpret_cast<std::byte*>(address + offset); }
  };
  static constexpr std::size_t kBufferBytes = 1 << 16;

  /// Runs `work` as each rank once all are connected; the GPUs alternate.
  void as_ranks(int num_ranks, const std::function<void(const Rank&)>& work) {
    const NcclUniqueId id = new_id();
    std::vector<std::thread> threads;
    for (int rank = 0; rank < num_ranks; ++rank) {
      threads.emplace_back([&, rank] {
        CuContext context = nullptr;
        ASSERT_CUDA(cuDevicePrimaryCtxRetain(&context, rank % 2));
        ASSERT_CUDA(cuCtxSetCurrent(context));
        const NcclComm comm = start(id, rank, num_ranks);
        EXPECT_TRUE(becomes_ready(comm));
        const Rank made{rank, comm, create_stream(), allocate(kBufferBytes)};
        work(made);
        EXPECT_EQ(ncclCommAbort(comm), NcclResult::success);
        EXPECT_CUDA(cuMemFree_v2(made.address));
        EXPECT_CUDA(cuStreamDestroy_v2(made.stream));
        EXPECT_CUDA(cuDevicePrimaryCtxRelease_v2(rank % 2));
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
};

}  // namespace ckpt::fake
