#include "checkpoint/tensor_memory.h"

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "support/matchers.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using testing::Is;

MemoryTensor bytes_named(std::string name, std::span<const std::byte> bytes) {
  return {{std::move(name), DType::U8, {bytes.size()}, bytes.size()}, bytes};
}

TEST(TensorMemory, LaysTensorsOutOneBehindTheOther) {
  const Bytes a(300, std::byte{1});
  const Bytes b(7, std::byte{2});
  Checkpoint share;
  ASSERT_OK(add_tensors(std::vector{bytes_named("a", a), bytes_named("none", {}), bytes_named("b", b)}, share));
  ASSERT_EQ(share.files.size(), 1u);
  EXPECT_EQ(share.files[0].bytes, 768u);
  EXPECT_EQ(share.locations[2].offset_bytes, 512u);
  ASSERT_NE(share.files[0].memory, nullptr);
}

TEST(TensorMemory, AnyRangeOfTheImageCanBeRead) {
  const Bytes a(300, std::byte{1});
  const Bytes b(7, std::byte{2});
  Checkpoint share;
  ASSERT_OK(add_tensors(std::vector{bytes_named("a", a), bytes_named("b", b)}, share));
  Bytes expected(768, std::byte{0});
  std::fill_n(expected.begin(), 300, std::byte{1});
  std::fill_n(expected.begin() + 512, 7, std::byte{2});
  for (std::size_t begin = 0; begin < expected.size(); begin += 13) {
    for (std::size_t end = begin; end <= expected.size(); end += 29) {
      Bytes got(end - begin, std::byte{0xee});
      EXPECT_TRUE(share.files[0].memory->read(begin, got).empty());
      ASSERT_TRUE(std::equal(got.begin(), got.end(), expected.begin() + static_cast<std::ptrdiff_t>(begin))) << begin << " to " << end;
    }
  }
}

TEST(TensorMemory, WhatLiesOnADeviceIsLeftToIt) {
  const Bytes a(300, std::byte{1});
  const Bytes b(300, std::byte{2});
  Checkpoint share;
  MemoryTensor on_device = bytes_named("b", b);
  on_device.on_device = true;
  ASSERT_OK(add_tensors(std::vector{bytes_named("a", a), on_device}, share));
  Bytes got(700, std::byte{0xee});
  const auto parts = share.files[0].memory->read(100, got);
  ASSERT_EQ(parts.size(), 1u);
  EXPECT_EQ(parts[0].into.data(), got.data() + 412);
  EXPECT_EQ(parts[0].into.size(), 288u);
  EXPECT_EQ(parts[0].from, b.data());
  EXPECT_EQ(got[199], std::byte{1});
  EXPECT_EQ(got[200], std::byte{0});
  EXPECT_EQ(got[412], std::byte{0xee}) << "not touched";
}

TEST(TensorMemory, WhatIsNoTensorIsRefusedAndChangesNothing) {
  const Bytes a(8, std::byte{1});
  Checkpoint share;
  ASSERT_OK(add_tensors(std::vector{bytes_named("a", a)}, share));
  EXPECT_THAT(add_tensors(std::vector{bytes_named("b", a), bytes_named("a", a)}, share), Is(StatusCode::already_exists, HasSubstr("tensor a")));
  EXPECT_THAT(add_tensors(std::vector{bytes_named("", a)}, share), Is(StatusCode::invalid_argument, HasSubstr("no name")));
  EXPECT_THAT(add_tensors(std::vector{bytes_named("\xff", a)}, share), Is(StatusCode::invalid_argument, HasSubstr("UTF-8")));
  EXPECT_THAT(add_tensors(std::vector{MemoryTensor{{"c", DType::F32, {3}, 12}, a}}, share),
              Is(StatusCode::invalid_argument, HasSubstr("tensor c: 8 bytes were given, and F32 of its shape take 12")));
  EXPECT_THAT(add_tensors(std::vector{MemoryTensor{{"c", DType::U8, {1ull << 40, 1ull << 40}, 8}, a}}, share),
              Is(StatusCode::invalid_argument, HasSubstr("more than there can be")));
  EXPECT_EQ(share.parameters.size(), 1u);
  EXPECT_EQ(share.files.size(), 1u);
}

}  // namespace
}  // namespace ckpt
