// Host memory: what registering it changes, and what is refused.
#include "tests/gpu_fixture.h"

namespace ckpt::fake {
namespace {

using HostMemoryTest = GpuTest;
constexpr std::size_t kPage = 4096;

TEST_F(HostMemoryTest, UnregisteredIsReadBeforeTheCallReturnsRegisteredLater) {
  const CuDevicePtr address = allocate(kPage);
  const CuStream stream = create_stream();
  const Pages pages(kPage);
  const auto seen_after_a_change = [&] {
    std::memcpy(pages.data(), "old", 3);
    write(address, std::string(100, '-'), stream);
    EXPECT_CUDA(cuMemcpyHtoDAsync_v2(address, pages.data(), 3, stream));
    std::memcpy(pages.data(), "new", 3);
    return read(address, 3, stream);
  };
  for (int round = 0; round < 16; ++round) EXPECT_EQ(seen_after_a_change(), "old");
#if !defined(__SANITIZE_THREAD__)  // which rightly calls it a race
  int changed = 0;
  ASSERT_CUDA(cuMemHostRegister_v2(pages.data(), kPage, kCuHostRegisterPortable));
  for (int round = 0; round < 16; ++round) changed += seen_after_a_change() == "new" ? 1 : 0;
  EXPECT_GT(changed, 0);
  EXPECT_CUDA(cuMemHostUnregister(pages.data()));
#endif
}

TEST_F(HostMemoryTest, RegistrationsDoNotOverlapAndAreKnown) {
  const Pages pages(4 * kPage);
  ASSERT_CUDA(cuMemHostRegister_v2(pages.data() + kPage, kPage, 0));
  EXPECT_EQ(cuMemHostRegister_v2(pages.data() + kPage, kPage, 0), kCuAlreadyRegistered);
  EXPECT_EQ(cuMemHostRegister_v2(pages.data(), 4 * kPage, 0), kCuAlreadyRegistered);
  EXPECT_EQ(cuMemHostRegister_v2(pages.data() + 2 * kPage - 10, 10, 0), kCuAlreadyRegistered);
  EXPECT_CUDA(cuMemHostRegister_v2(pages.data(), kPage, 0));
  EXPECT_EQ(cuMemHostUnregister(pages.data() + 1), kNotRegistered);
  EXPECT_CUDA(cuMemHostUnregister(pages.data()));
  EXPECT_EQ(cuMemHostUnregister(pages.data()), kNotRegistered);
  EXPECT_CUDA(cuMemHostUnregister(pages.data() + kPage));
}

TEST_F(HostMemoryTest, ACopyLiesInOneRegistrationOrInNone) {
  const CuDevicePtr address = allocate(4 * kPage);
  const CuStream stream = create_stream();
  const Pages pages(4 * kPage);
  ASSERT_CUDA(cuMemHostRegister_v2(pages.data() + kPage, kPage, 0));
  ASSERT_CUDA(cuMemHostRegister_v2(pages.data() + 2 * kPage, kPage, 0));
  EXPECT_CUDA(cuMemcpyHtoDAsync_v2(address, pages.data() + kPage, kPage, stream));
  EXPECT_CUDA(cuMemcpyHtoDAsync_v2(address, pages.data(), kPage, stream));
  EXPECT_EQ(cuMemcpyHtoDAsync_v2(address, pages.data() + kPage, 2 * kPage, stream), kInvalidValue) << "two";
  EXPECT_EQ(cuMemcpyHtoDAsync_v2(address, pages.data(), kPage + 1, stream), kInvalidValue) << "begins before";
  EXPECT_EQ(cuMemcpyHtoDAsync_v2(address, pages.data() + 3 * kPage - 1, 2, stream), kInvalidValue) << "ends behind";
  ASSERT_CUDA(cuStreamSynchronize(stream));
  EXPECT_CUDA(cuMemHostUnregister(pages.data() + kPage));
  EXPECT_CUDA(cuMemHostUnregister(pages.data() + 2 * kPage));
}

TEST_F(HostMemoryTest, WhatCannotBeWrittenNeedsTheFlag) {
  const Pages pages(2 * kPage, PROT_READ);
  EXPECT_EQ(cuMemHostRegister_v2(pages.data(), kPage, 0), kInvalidValue);
  EXPECT_CUDA(cuMemHostRegister_v2(pages.data(), kPage, kCuHostRegisterReadOnly));
  EXPECT_CUDA(cuMemHostUnregister(pages.data()));
  const Pages none(kPage, PROT_NONE);
  EXPECT_EQ(cuMemHostRegister_v2(none.data(), kPage, kCuHostRegisterReadOnly), kInvalidValue);
  EXPECT_EQ(cuMemHostRegister_v2(pages.data(), 0, 0), kInvalidValue);
}

}  // namespace
}  // namespace ckpt::fake
