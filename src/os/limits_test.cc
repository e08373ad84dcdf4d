#include "os/limits.h"

#include <sys/resource.h>

#include <filesystem>
#include <limits>

#include "base/bytes.h"
#include "os/shared_memory.h"
#include "os/threads.h"
#include "support/matchers.h"
#include "support/temporary_directory.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using testing::Is;

/// A made-up tree of groups.
class Cgroups : public ::testing::Test {
 protected:
  void put(const std::string& directory, const std::string& file, const std::string& text) const {
    std::filesystem::create_directories(dir_ / ("mount/" + directory));
    dir_.write("mount/" + directory + "/" + file, text);
  }
  [[nodiscard]] CgroupFiles member_of(const std::string& lines) const { return {dir_.write("membership", lines), dir_ / "mount"}; }
  testing::TemporaryDirectory dir_;
};

TEST_F(Cgroups, TheTightestGroupOnTheWayUpBounds) {
  put("a/b", "memory.max", "max\n");
  put("a/b", "memory.current", "100\n");
  put("a", "memory.max", "10000\n");
  put("a", "memory.current", "4000\n");
  put("a", "memory.stat", "anon 1500\ninactive_file 2500\n");
  const MemoryBound bound = cgroup_memory_bound(member_of("0::/a/b\n"));
  EXPECT_EQ(bound.bytes, 8500u);  // page cache that the group would give up is not in use
  EXPECT_EQ(bound.limit, "memory.max of the cgroup");
}

TEST_F(Cgroups, VersionOneAndAContainersOwnRoot) {
  put("memory", "memory.limit_in_bytes", "1000\n");
  put("memory", "memory.usage_in_bytes", "1200\n");
  EXPECT_EQ(cgroup_memory_bound(member_of("4:memory:/docker/123\n0::/\n")).bytes, 0u);
  put("memory", "memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(cgroup_memory_bound(member_of("4:memory:/docker/123\n0::/\n")).bytes, std::numeric_limits<std::uint64_t>::max());
}

TEST_F(Cgroups, ProcessorTimeIsCountedInWholeCores) {
  EXPECT_EQ(cgroup_cores(member_of("0::/a\n")), std::nullopt);
  put("a", "cpu.max", "max 100000\n");
  EXPECT_EQ(cgroup_cores(member_of("0::/a\n")), std::nullopt);
  put("a", "cpu.max", "150000 100000\n");
  EXPECT_EQ(cgroup_cores(member_of("0::/a\n")), 2u);
  put("cpu/x", "cpu.cfs_quota_us", "-1\n");
  put("cpu/x", "cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(cgroup_cores(member_of("7:cpu,cpuacct:/x\n")), std::nullopt);
  put("cpu/x", "cpu.cfs_quota_us", "30000\n");
  EXPECT_EQ(cgroup_cores(member_of("7:cpu,cpuacct:/x\n")), 1u);
}

TEST_F(Cgroups, LinesThatAreNoneAreSkipped) {
  EXPECT_TRUE(member_of("nonsense\n1:\n\n").directories("memory").empty());
  EXPECT_TRUE(CgroupFiles({"/nowhere/at/all", "/nowhere"}).directories("").empty());
}

TEST(MemoryLimits, WhatCannotFitIsRefusedWithTheMissingBytes) {
  EXPECT_OK(check_memory(1, "a test"));
  EXPECT_THAT(check_memory(std::uint64_t{1} << 60, "a test"), Is(StatusCode::resource_exhausted, HasSubstr("bytes are missing")));
  EXPECT_GT(available_memory(), 0u);
  EXPECT_LE(available_memory(), total_memory());
}

#if !defined(CKPT_SANITIZED)  // sanitizers take the address space
TEST(MemoryLimits, TheAddressSpaceLimitBounds) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_AS, &before), 0);
  const rlimit low{4 * GiB, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_AS, &low), 0);
  const MemoryBound bound = hard_memory_bound();
  const Status refused = check_memory(5 * GiB, "a test");
  ASSERT_EQ(::setrlimit(RLIMIT_AS, &before), 0);
  EXPECT_LT(bound.bytes, 4 * GiB);
  EXPECT_THAT(refused, Is(StatusCode::resource_exhausted, HasSubstr("bytes are missing")));
}
#endif

TEST(MemoryLimits, AFileSizeLimitRefusesSharedMemoryAndKillsNobody) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit low{64 * KiB, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &low), 0);
  const auto refused = create_memfd("test", 1 * MiB);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_THAT(refused, Is(StatusCode::resource_exhausted, HasSubstr("RLIMIT_FSIZE")));
}

TEST(UsableCores, AreAtLeastOneAndAtMostThoseOnline) {
  EXPECT_GE(usable_cores(), 1u);
  EXPECT_LE(usable_cores(), static_cast<unsigned>(::sysconf(_SC_NPROCESSORS_ONLN)));
}

}  // namespace
}  // namespace ckpt
