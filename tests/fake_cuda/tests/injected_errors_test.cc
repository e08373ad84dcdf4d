// Errors on demand.
#include "cuda/injected_errors.h"

#include <thread>

#include "support/test_process.h"
#include "tests/gpu_fixture.h"

namespace ckpt::fake {
namespace {

TEST(InjectedErrors, StrikeTheNthCallOrAllFromItOn) {
  InjectedErrors errors;
  ASSERT_TRUE(errors.set("cuMemAlloc:2:2,cuMemFree:1:2+,copy:hang"));
  const auto strikes = [&](const char* call) { return std::vector<int>{errors.strike(call), errors.strike(call), errors.strike(call)}; };
  EXPECT_EQ(strikes("cuMemAlloc"), (std::vector<int>{0, 2, 0}));
  EXPECT_EQ(strikes("cuMemFree"), (std::vector<int>{0, 1, 1}));
  EXPECT_EQ(strikes("copy"), (std::vector<int>{kHang, 0, 0}));
  EXPECT_EQ(strikes("cuInit"), (std::vector<int>{0, 0, 0}));
  EXPECT_FALSE(errors.set("cuMemAlloc"));
  EXPECT_FALSE(errors.set("cuMemAlloc:x:1"));
}

TEST(InjectedErrors, HaveNamesAndTexts) {
  const char* text = nullptr;
  EXPECT_CUDA(cuGetErrorName(700, &text));
  EXPECT_STREQ(text, "CUDA_ERROR_ILLEGAL_ADDRESS");
  EXPECT_CUDA(cuGetErrorString(2, &text));
  EXPECT_STREQ(text, "out of memory");
  EXPECT_EQ(cuGetErrorName(12345, &text), kInvalidValue);
}

TEST(InjectedErrors, OfTheEnvironmentStrikeOnOneRank) {
  const std::vector<std::string> command{CKPT_FAKE_CUDA_PEER, "allocate_and_exit", "4096"};
  testing::TestProcess other(command, {"CKPT_FAKE_CUDA_FAIL=cuMemAlloc:999:1", "CKPT_FAKE_CUDA_FAIL_RANK=1", "RANK=0"});
  testing::TestProcess struck(command, {"CKPT_FAKE_CUDA_FAIL=cuMemAlloc:999:1", "CKPT_FAKE_CUDA_FAIL_RANK=1", "RANK=1"});
  EXPECT_NE(other.read_line(), "error 999");
  EXPECT_EQ(struck.read_line(), "error 999");
}

class HangTest : public GpuTest {};

TEST_F(HangTest, ACopyThatHangsHoldsItsStreamAlone) {
  const CuDevicePtr address = allocate(4096);
  const CuStream stuck = create_stream();
  const CuStream free = create_stream();
  const CuEvent never = create_event();
  inject_errors("copy:hang:1");
  write(address, "never", stuck);
  ASSERT_CUDA(cuEventRecord(never, stuck));
  while (cuEventQuery(never) != kCuNotReady) {
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  write(address, "other", free);
  EXPECT_EQ(read(address, 5, free), "other");
  EXPECT_EQ(cuEventQuery(never), kCuNotReady);
}

}  // namespace
}  // namespace ckpt::fake
