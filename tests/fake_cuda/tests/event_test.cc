// Events: what a query, a wait and a time mean.
#include "tests/gpu_fixture.h"

namespace ckpt::fake {
namespace {

class EventTest : public GpuTest {
 protected:
  /// Asks until it is done.
  static void finish(CuEvent event) {
    while (cuEventQuery(event) == kCuNotReady) {
    }
    EXPECT_CUDA(cuEventQuery(event));
  }
};

TEST_F(EventTest, NotRecordedCountsAsDone) {
  const CuEvent event = create_event();
  EXPECT_CUDA(cuEventQuery(event));
  const CuStream stream = create_stream();
  EXPECT_CUDA(cuStreamWaitEvent(stream, event, 0));
  EXPECT_CUDA(cuStreamSynchronize(stream));
}

TEST_F(EventTest, AQueryIsNotReadyUntilTheWorkIsDone) {
  const CuDevicePtr address = allocate(1 << 20);
  const CuStream stream = create_stream();
  const CuEvent event = create_event();
  const std::string text(1 << 20, 'x');
  int not_ready = 0;
  for (int round = 0; round < 16; ++round) {
    write(address, text, stream);
    ASSERT_CUDA(cuEventRecord(event, stream));
    if (cuEventQuery(event) == kCuNotReady) ++not_ready;
    finish(event);
  }
  EXPECT_GT(not_ready, 0);
}

TEST_F(EventTest, AWaitIsForTheLastRecordBeforeIt) {
  const CuDevicePtr address = allocate(4096);
  const CuStream filler = create_stream();
  const CuStream reader = create_stream();
  const CuEvent event = create_event();
  inject_errors("copy:hang:2");
  write(address, "one", filler);
  ASSERT_CUDA(cuEventRecord(event, filler));
  ASSERT_CUDA(cuStreamWaitEvent(reader, event, 0));
  write(address, "two", filler);              // hangs
  ASSERT_CUDA(cuEventRecord(event, filler));  // again
  const CuEvent read_one = create_event();
  ASSERT_CUDA(cuEventRecord(read_one, reader));
  finish(read_one);
}

TEST_F(EventTest, TimesAreThoseOfTheWork) {
  const CuDevicePtr address = allocate(4096);
  const CuStream stream = create_stream();
  const CuEvent begin = create_event();
  const CuEvent end = create_event();
  float ms = -1;
  EXPECT_EQ(cuEventElapsedTime(&ms, begin, end), kInvalidHandle) << "not recorded";
  ASSERT_CUDA(cuEventRecord(begin, stream));
  for (int i = 0; i < 20; ++i) write(address, "x", stream);
  ASSERT_CUDA(cuEventRecord(end, stream));
  ASSERT_CUDA(cuStreamSynchronize(stream));
  EXPECT_CUDA(cuEventElapsedTime(&ms, begin, end));
  EXPECT_GE(ms, 0);
  CuEvent untimed = nullptr;
  ASSERT_CUDA(cuEventCreate(&untimed, 2));
  ASSERT_CUDA(cuEventRecord(untimed, stream));
  ASSERT_CUDA(cuStreamSynchronize(stream));
  EXPECT_EQ(cuEventElapsedTime(&ms, begin, untimed), kInvalidHandle);
}

TEST_F(EventTest, DestroyedIsNoneAndWhatWaitsForItGoesOn) {
  const CuDevicePtr address = allocate(4096);
  const CuStream filler = create_stream();
  const CuStream reader = create_stream();
  const CuEvent event = create_event();
  write(address, "in time", filler);
  ASSERT_CUDA(cuEventRecord(event, filler));
  ASSERT_CUDA(cuStreamWaitEvent(reader, event, 0));
  ASSERT_CUDA(cuEventDestroy_v2(event));
  EXPECT_EQ(read(address, 7, reader), "in time");
  EXPECT_EQ(cuEventQuery(event), kInvalidHandle);
}

}  // namespace
}  // namespace ckpt::fake
