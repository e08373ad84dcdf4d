// Streams: in order, as late as they may, each for itself.
#include <chrono>

#include "tests/gpu_fixture.h"

namespace ckpt::fake {
namespace {

using StreamTest = GpuTest;
constexpr int kRounds = 16;  // the delays are drawn: one of them is long

TEST_F(StreamTest, CopiesOfAStreamAreInOrder) {
  const CuDevicePtr address = allocate(4096);
  const CuStream stream = create_stream();
  for (int i = 0; i < 1000; ++i) write(address, std::to_string(10000 + i), stream);
  EXPECT_EQ(read(address, 5, stream), "10999");
}

#if !defined(__SANITIZE_THREAD__)  // which rightly calls it a race
TEST_F(StreamTest, WithoutAWaitAnotherStreamDoesNotSeeACopy) {
  const CuDevicePtr address = allocate(4096);
  const CuStream filler = create_stream();
  const CuStream reader = create_stream();
  const CuEvent filled = create_event();
  int stale = 0;
  for (int round = 0; round < kRounds; ++round) {
    const std::string text = std::to_string(100 + round);
    write(address, text, filler);
    if (read(address, 3, reader) != text) ++stale;
    ASSERT_CUDA(cuEventRecord(filled, filler));
    ASSERT_CUDA(cuStreamWaitEvent(reader, filled, 0));
    EXPECT_EQ(read(address, 3, reader), text);
  }
  EXPECT_GT(stale, 0);
}

TEST_F(StreamTest, WorkRunsByItselfInTheEnd) {
  const CuDevicePtr address = allocate(4096);
  const CuStream filler = create_stream();
  const CuStream reader = create_stream();
  write(address, "late", filler);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (read(address, 4, reader) != "late" && std::chrono::steady_clock::now() < end) {
  }
  EXPECT_EQ(read(address, 4, reader), "late");
}
#endif

TEST_F(StreamTest, AStreamThatIsDestroyedFinishesItsWork) {
  const CuDevicePtr address = allocate(4096);
  const CuStream filler = create_stream();
  const CuEvent filled = create_event();
  write(address, "all", filler);
  ASSERT_CUDA(cuEventRecord(filled, filler));
  ASSERT_CUDA(cuStreamDestroy_v2(filler));
  const CuStream reader = create_stream();
  ASSERT_CUDA(cuStreamWaitEvent(reader, filled, 0));
  EXPECT_EQ(read(address, 3, reader), "all");
  EXPECT_EQ(cuStreamSynchronize(filler), kInvalidHandle);
  EXPECT_EQ(cuStreamDestroy_v2(filler), kInvalidHandle);
}

TEST_F(StreamTest, MemoryIsFreedWhenTheWorkOnItIsDone) {
  const CuDevicePtr address = allocate(4096);
  const CuStream stream = create_stream();
  const CuEvent written = create_event();
  write(address, "gone", stream);
  ASSERT_CUDA(cuEventRecord(written, stream));
  ASSERT_CUDA(cuStreamDestroy_v2(stream));
  ASSERT_CUDA(cuMemFree_v2(address));
  EXPECT_EQ(cuEventQuery(written), kCuSuccess) << "cuMemFree waits";
  EXPECT_EQ(cuMemcpyHtoDAsync_v2(address, "x", 1, create_stream()), kInvalidValue);
  EXPECT_EQ(cuMemFree_v2(address), kInvalidValue);
}

TEST_F(StreamTest, OfAnotherDeviceIsRefused) {
  CuContext second = nullptr;
  const CuDevicePtr address = allocate(4096);
  const CuStream stream = create_stream();
  ASSERT_CUDA(cuDevicePrimaryCtxRetain(&second, 1));
  ASSERT_CUDA(cuCtxSetCurrent(second));
  EXPECT_EQ(cuMemcpyHtoDAsync_v2(address, "x", 1, stream), kInvalidHandle);
  ASSERT_CUDA(cuDevicePrimaryCtxRelease_v2(1));
}

}  // namespace
}  // namespace ckpt::fake
