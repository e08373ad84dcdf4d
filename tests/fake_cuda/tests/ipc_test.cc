// Handles of device memory for other processes.
#include <fcntl.h>
#include <sys/stat.h>

#include "support/test_process.h"
#include "tests/gpu_fixture.h"

namespace ckpt::fake {
namespace {

class IpcTest : public GpuTest {
 protected:
  void SetUp() override {
    GpuTest::SetUp();
    stream_ = create_stream();
    address_ = allocate(8192);
    write(address_, "sent", stream_);
    ASSERT_CUDA(cuStreamSynchronize(stream_));
    name_ = handle_name(address_);
  }
  CuStream stream_ = nullptr;
  CuDevicePtr address_ = 0;
  std::string name_;
};

TEST_F(IpcTest, TheHandleIsTheNameOfTheSharedMemory) {
  const int fd = ::shm_open(name_.c_str(), O_RDONLY | O_CLOEXEC, 0);
  ASSERT_GE(fd, 0) << name_;
  char text[5] = {};
  EXPECT_EQ(::pread(fd, text, 4, 0), 4);
  EXPECT_STREQ(text, "sent");
  struct stat about {};
  ASSERT_EQ(::fstat(fd, &about), 0);
  EXPECT_EQ(about.st_size, 8192);
  ::close(fd);
}

TEST_F(IpcTest, AnotherProcessReadsThroughIt) {
  testing::TestProcess peer({CKPT_FAKE_CUDA_PEER, "open", name_, "4"});
  EXPECT_EQ(peer.read_line(), "sent");
  EXPECT_TRUE(peer.wait().ok());
}

TEST_F(IpcTest, OnlyTheBaseOfAnAllocationHasOne) {
  CuIpcMemHandle handle;
  EXPECT_EQ(cuIpcGetMemHandle(&handle, address_ + 4096), kInvalidValue);
  EXPECT_EQ(cuIpcGetMemHandle(&handle, 4096), kInvalidValue);
}

TEST_F(IpcTest, IsRefusedInItsOwnProcessAndWhenItIsNone) {
  CuDevicePtr opened = 0;
  EXPECT_EQ(cuIpcOpenMemHandle_v2(&opened, handle_of(name_), kCuIpcLazyPeerAccess), kInvalidContext);
  EXPECT_EQ(cuIpcOpenMemHandle_v2(&opened, handle_of(name_), 0), kInvalidValue);
  EXPECT_EQ(cuIpcOpenMemHandle_v2(&opened, handle_of("/ckpt-fake-gpu-0-gone"), kCuIpcLazyPeerAccess), kInvalidHandle);
  EXPECT_EQ(cuIpcOpenMemHandle_v2(&opened, handle_of("/etc/passwd"), kCuIpcLazyPeerAccess), kInvalidValue);
  EXPECT_EQ(cuIpcOpenMemHandle_v2(&opened, handle_of(std::string(64, 'x')), kCuIpcLazyPeerAccess), kInvalidValue);
}

TEST_F(IpcTest, OpenedTwiceIsOneMappingClosedTwice) {
  testing::TestProcess peer({CKPT_FAKE_CUDA_PEER, "allocate", "4096"});
  const std::string name = peer.read_line().value_or("");
  CuDevicePtr first = 0;
  CuDevicePtr second = 0;
  ASSERT_CUDA(cuIpcOpenMemHandle_v2(&first, handle_of(name), kCuIpcLazyPeerAccess));
  ASSERT_CUDA(cuIpcOpenMemHandle_v2(&second, handle_of(name), kCuIpcLazyPeerAccess));
  EXPECT_EQ(first, second);
  EXPECT_EQ(cuMemFree_v2(first), kInvalidValue) << "it is not ours";
  CuIpcMemHandle handle;
  EXPECT_EQ(cuIpcGetMemHandle(&handle, first), kInvalidValue);
  EXPECT_CUDA(cuIpcCloseMemHandle(first));
  write(first, "still", stream_);
  EXPECT_CUDA(cuIpcCloseMemHandle(first));
  EXPECT_EQ(cuIpcCloseMemHandle(first), kInvalidValue);
  EXPECT_EQ(cuIpcCloseMemHandle(address_), kInvalidValue);
}

TEST_F(IpcTest, FreedMemoryCannotBeOpenedButStaysWhereItIs) {
  testing::TestProcess peer({CKPT_FAKE_CUDA_PEER, "allocate", "4096"});
  const std::string name = peer.read_line().value_or("");
  CuDevicePtr opened = 0;
  ASSERT_CUDA(cuIpcOpenMemHandle_v2(&opened, handle_of(name), kCuIpcLazyPeerAccess));
  peer.kill();
  static_cast<void>(peer.wait());
  std::size_t left = 0;
  std::size_t total = 0;
  ASSERT_CUDA(cuMemGetInfo_v2(&left, &total));  // looks after it
  write(opened, "kept", stream_);
  EXPECT_EQ(read(opened, 4, stream_), "kept");
  ASSERT_CUDA(cuIpcCloseMemHandle(opened));
  EXPECT_EQ(cuIpcOpenMemHandle_v2(&opened, handle_of(name), kCuIpcLazyPeerAccess), kInvalidHandle);
}

}  // namespace
}  // namespace ckpt::fake
