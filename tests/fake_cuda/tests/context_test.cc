// Contexts: current for each thread, counted, and spoiled by the errors of their work.
#include <thread>

#include "tests/gpu_fixture.h"

namespace ckpt::fake {
namespace {

using ContextTest = GpuTest;

TEST_F(ContextTest, EachThreadHasItsOwnCurrentOne) {
  CuResult without = kCuSuccess;
  CuResult with = kInvalidContext;
  std::thread other([&] {
    CuDevicePtr address = 0;
    without = cuMemAlloc_v2(&address, 256);
    cuCtxSetCurrent(context_);
    with = cuMemAlloc_v2(&address, 256);
  });
  other.join();
  EXPECT_EQ(without, kInvalidContext);
  EXPECT_EQ(with, kCuSuccess);
}

TEST_F(ContextTest, TheLastReleaseEndsItAndWhatBelongsToIt) {
  CuContext again = nullptr;
  ASSERT_CUDA(cuDevicePrimaryCtxRetain(&again, 0));
  EXPECT_EQ(again, context_);
  std::size_t before = 0;
  std::size_t after = 0;
  std::size_t total = 0;
  ASSERT_CUDA(cuMemGetInfo_v2(&before, &total));
  const CuDevicePtr address = allocate(1 << 20);
  ASSERT_CUDA(cuDevicePrimaryCtxRelease_v2(0));
  write(address, "here", create_stream());  // one retain is left
  ASSERT_CUDA(cuDevicePrimaryCtxRelease_v2(0));
  EXPECT_EQ(cuMemGetInfo_v2(&after, &total), kContextIsDestroyed);
  EXPECT_EQ(cuDevicePrimaryCtxRelease_v2(0), kInvalidContext);
  ASSERT_CUDA(cuDevicePrimaryCtxRetain(&context_, 0));
  EXPECT_NE(context_, again);
  ASSERT_CUDA(cuCtxSetCurrent(context_));
  ASSERT_CUDA(cuMemGetInfo_v2(&after, &total));
  EXPECT_EQ(after, before);
}

TEST_F(ContextTest, ADeviceThatIsNone) {
  CuContext context = nullptr;
  EXPECT_EQ(cuDevicePrimaryCtxRetain(&context, 2), kInvalidDevice);
  EXPECT_EQ(cuCtxSetCurrent(reinterpret_cast<CuContext>(24)), kInvalidContext);
}

TEST_F(ContextTest, AFailedCopySpoilsItUntilItEnds) {
  const CuDevicePtr address = allocate(4096);
  const CuStream stream = create_stream();
  const CuEvent event = create_event();
  ASSERT_CUDA(cuEventRecord(event, stream));
  inject_errors("copy:700:2");
  write(address, "first", stream);
  EXPECT_CUDA(cuStreamSynchronize(stream));
  write(address, "second", stream);  // fails as it runs
  EXPECT_EQ(cuStreamSynchronize(stream), 700);
  EXPECT_EQ(cuEventQuery(event), 700);
  EXPECT_EQ(cuMemcpyHtoDAsync_v2(address, "third", 5, stream), 700);
  CuDevicePtr more = 0;
  EXPECT_EQ(cuMemAlloc_v2(&more, 256), 700);
  EXPECT_EQ(cuMemFree_v2(address), 700);

  ASSERT_CUDA(cuDevicePrimaryCtxRelease_v2(0));
  ASSERT_CUDA(cuDevicePrimaryCtxRetain(&context_, 0));
  ASSERT_CUDA(cuCtxSetCurrent(context_));
  EXPECT_CUDA(cuMemAlloc_v2(&more, 256));
}

}  // namespace
}  // namespace ckpt::fake
