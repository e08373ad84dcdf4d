#include "os/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <vector>

#include "base/bytes.h"
#include "os/shared_memory.h"
#include "support/matchers.h"

namespace ckpt {
namespace {

std::size_t resident_pages(std::span<std::byte> memory) {
  std::vector<unsigned char> in_core(memory.size() / 4096);
  EXPECT_EQ(::mincore(memory.data(), memory.size(), in_core.data()), 0);
  return static_cast<std::size_t>(std::count_if(in_core.begin(), in_core.end(), [](unsigned char page) { return (page & 1) != 0; }));
}

TEST(Populate, MakesEveryPageResidentAndKeepsWhatIsThere) {
  const Mapping memory = Mapping::anonymous(70 * MiB).value();  // more than one part
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory.data()) % (2 * MiB), 0u);
  memory.data()[5 * MiB + 7] = std::byte{42};
  ASSERT_OK(populate(memory.span(), 3));
  EXPECT_EQ(resident_pages(memory.span()), memory.bytes() / 4096);
  EXPECT_EQ(memory.data()[5 * MiB + 7], std::byte{42});
}

TEST(Populate, SharedMemoryToo) {
  const UniqueFd fd = create_memfd("test", 1 * MiB).value();
  const Mapping memory = Mapping::shared(fd.get(), 1 * MiB, Access::read_write).value();
  ASSERT_OK(populate(memory.span(), 2));
  EXPECT_EQ(resident_pages(memory.span()), 256u);
}

/// Address and offset agree modulo 2 MiB: else the kernel maps no huge page whole.
TEST(SharedMemory, LiesAtHugePagesWhereItHasRoomForOne) {
  const UniqueFd fd = create_memfd("test", 5 * MiB + 4096).value();
  const Mapping whole = Mapping::shared(fd.get(), 5 * MiB + 4096, Access::read_write).value();
  const Mapping other = Mapping::shared(fd.get(), 2 * MiB, Access::read_only).value();
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(whole.data()) % (2 * MiB), 0u);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(other.data()) % (2 * MiB), 0u);
  whole.data()[2 * MiB - 1] = std::byte{42};
  EXPECT_EQ(other.data()[2 * MiB - 1], std::byte{42});
}

TEST(Populate, NothingIsNoError) { EXPECT_OK(populate({}, 4)); }

TEST(Memfd, CannotBeCutShortByThoseWhoMapIt) {
  const UniqueFd fd = create_memfd("test", 8192).value();
  EXPECT_NE(::ftruncate(fd.get(), 4096), 0);
  EXPECT_EQ(size_of(fd.get()).value(), 8192u);
}

}  // namespace
}  // namespace ckpt
