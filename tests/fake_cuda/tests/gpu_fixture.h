/// A test on the software GPU: the first device's context is current, nothing is left of the test before.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "cuda/exports.h"
#include "cuda/result_codes.h"
#include "fake_cuda.h"

namespace ckpt::fake {

#define ASSERT_CUDA(call) ASSERT_EQ(call, kCuSuccess)
#define EXPECT_CUDA(call) EXPECT_EQ(call, kCuSuccess)

/// No other process uses these GPUs, but those that the test starts.
inline const bool kOwnMachine = ::setenv("CKPT_FAKE_CUDA_MACHINE", std::to_string(::getpid()).c_str(), 0) == 0;

class GpuTest : public ::testing::Test {
 protected:
  void SetUp() override {
    inject_errors("");
    ASSERT_CUDA(cuInit(0));
    ASSERT_CUDA(cuDevicePrimaryCtxRetain(&context_, 0));
    ASSERT_CUDA(cuCtxSetCurrent(context_));
  }
  void TearDown() override {
    inject_errors("");
    EXPECT_CUDA(cuCtxSetCurrent(nullptr));
    EXPECT_CUDA(cuDevicePrimaryCtxRelease_v2(0));
  }

  static CuDevicePtr allocate(std::size_t bytes) {
    CuDevicePtr address = 0;
    EXPECT_CUDA(cuMemAlloc_v2(&address, bytes));
    return address;
  }
  static CuStream create_stream() {
    CuStream stream = nullptr;
    EXPECT_CUDA(cuStreamCreate(&stream, kCuStreamNonBlocking));
    return stream;
  }
  static CuEvent create_event() {
    CuEvent event = nullptr;
    EXPECT_CUDA(cuEventCreate(&event, 0));
    return event;
  }
  /// What lies at `address` when all work of `stream` is done.
  static std::string read(CuDevicePtr address, std::size_t bytes, CuStream stream) {
    std::string text(bytes, '\0');
    EXPECT_CUDA(cuMemcpyDtoHAsync_v2(text.data(), address, bytes, stream));
    EXPECT_CUDA(cuStreamSynchronize(stream));
    return text;
  }
  static void write(CuDevicePtr address, const std::string& text, CuStream stream) {
    EXPECT_CUDA(cuMemcpyHtoDAsync_v2(address, text.data(), text.size(), stream));
  }
  static std::string handle_name(CuDevicePtr address) {
    CuIpcMemHandle handle;
    EXPECT_CUDA(cuIpcGetMemHandle(&handle, address));
    return {handle.bytes.data(), ::strnlen(handle.bytes.data(), handle.bytes.size())};
  }
  static CuIpcMemHandle handle_of(const std::string& name) {
    CuIpcMemHandle handle{};
    name.copy(handle.bytes.data(), handle.bytes.size());
    return handle;
  }

  CuContext context_ = nullptr;
};

/// Pages of their own, so that they can be registered.
class Pages {
 public:
  explicit Pages(std::size_t bytes, int access = PROT_READ | PROT_WRITE)
      : bytes_(bytes), at_(::mmap(nullptr, bytes, access, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {}
  ~Pages() { ::munmap(at_, bytes_); }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  [[nodiscard]] char* data() const { return static_cast<char*>(at_); }

 private:
  std::size_t bytes_;
  void* at_;
};

}  // namespace ckpt::fake
