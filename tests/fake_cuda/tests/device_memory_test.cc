// Device memory: out of reach for the caller, accounted for all processes, gone with its process.
#include <fcntl.h>

#include "support/test_process.h"
#include "tests/gpu_fixture.h"

namespace ckpt::fake {
namespace {

class DeviceMemoryTest : public GpuTest {
 protected:
  static std::size_t free_bytes() {
    std::size_t left = 0;
    std::size_t total = 0;
    EXPECT_CUDA(cuMemGetInfo_v2(&left, &total));
    EXPECT_LE(left, total);
    return left;
  }
  static bool exists(const std::string& name) { return ::access(("/dev/shm" + name).c_str(), F_OK) == 0; }
};

TEST_F(DeviceMemoryTest, TheHostCannotTouchIt) {
  const CuDevicePtr address = allocate(4096);
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(*reinterpret_cast<volatile char*>(address) = 1, "");
  EXPECT_DEATH(static_cast<void>(*reinterpret_cast<volatile char*>(address)), "");
}

TEST_F(DeviceMemoryTest, CopiesStayInTheirAllocation) {
  const CuDevicePtr address = allocate(4096);
  const CuStream stream = create_stream();
  const std::string text(4097, 'x');
  EXPECT_CUDA(cuMemcpyHtoDAsync_v2(address, text.data(), 4096, stream));
  EXPECT_EQ(cuMemcpyHtoDAsync_v2(address, text.data(), 4097, stream), kInvalidValue);
  EXPECT_EQ(cuMemcpyHtoDAsync_v2(address + 4000, text.data(), 97, stream), kInvalidValue);
  EXPECT_EQ(cuMemcpyHtoDAsync_v2(address - 1, text.data(), 1, stream), kInvalidValue);
  const CuDevicePtr other = allocate(4096);
  EXPECT_CUDA(cuMemcpyDtoDAsync_v2(other + 5, address, 3, stream));
  EXPECT_EQ(read(other + 5, 3, stream), "xxx");
}

TEST_F(DeviceMemoryTest, RunsOut) {
  const std::size_t before = free_bytes();
  const CuDevicePtr address = allocate(1 << 20);
  EXPECT_EQ(free_bytes(), before - (1 << 20));
  CuDevicePtr more = 0;
  EXPECT_EQ(cuMemAlloc_v2(&more, before), kCuOutOfMemory);
  EXPECT_EQ(cuMemAlloc_v2(&more, std::size_t{1} << 50), kCuOutOfMemory);
  EXPECT_EQ(cuMemAlloc_v2(&more, 0), kInvalidValue);
  EXPECT_CUDA(cuMemFree_v2(address));
  EXPECT_EQ(free_bytes(), before);
}

TEST_F(DeviceMemoryTest, OtherProcessesUseItTooUntilTheyDie) {
  const std::size_t before = free_bytes();
  testing::TestProcess peer({CKPT_FAKE_CUDA_PEER, "allocate", "3000000"});
  const std::string name = peer.read_line().value_or("");
  EXPECT_EQ(free_bytes(), before - 3000000);
  EXPECT_TRUE(exists(name)) << name;
  peer.kill();
  EXPECT_EQ(peer.wait().signal, SIGKILL);
  EXPECT_EQ(free_bytes(), before);
  EXPECT_FALSE(exists(name));
}

TEST_F(DeviceMemoryTest, NothingIsLeftOfAProcessThatExits) {
  testing::TestProcess peer({CKPT_FAKE_CUDA_PEER, "allocate_and_exit", "3000000"});
  const std::string name = peer.read_line().value_or("");
  EXPECT_TRUE(peer.wait().ok());
  EXPECT_FALSE(exists(name)) << name;
}

TEST_F(DeviceMemoryTest, AForkedChildHasNoDriver) {
  const CuDevicePtr address = allocate(4096);
  const std::string name = handle_name(address);
  const pid_t child = ::fork();
  if (child == 0) {
    CuDevicePtr more = 0;
    ::_exit(cuMemAlloc_v2(&more, 256) == kNotInitialized ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(exists(name));
}

}  // namespace
}  // namespace ckpt::fake
