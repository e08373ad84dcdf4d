#include "hostpool/host_pool.h"

#include <xxhash.h>

#include <mutex>

#include "support/pool_fixture.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using testing::Is;

class HostPoolTest : public testing::PoolFixture {
 protected:
  /// From the tensors alone.
  [[nodiscard]] std::vector<UnitDigest> expected_digests(const CheckpointLayout& layout, std::uint32_t rank) const {
    std::vector<UnitDigest> digests;
    for (std::uint32_t f = 0; f < layout.frames.frames.size(); ++f) {
      for (std::uint32_t s = 0; s < layout.frames.frames[f].stripes.size(); ++s) {
        std::string bytes;
        for (const Extent& extent : extents_of(layout.frames, layout.parameters, f, s, rank))
          bytes += tensor(extent.parameter).substr(extent.tensor_offset_bytes, extent.bytes);
        if (!bytes.empty()) digests.push_back({f, s, XXH3_64bits(bytes.data(), bytes.size())});
      }
    }
    return digests;
  }
};

TEST_P(HostPoolTest, TheSharesOfAllRanksMakeTheCheckpoint) { expect_shares_make_the_checkpoint({1u, 2u, 3u}); }

TEST_P(HostPoolTest, ARankReadsItsUnitsAndLittleMore) {
  LoadReport report;
  ASSERT_OK(load(layout_of(2), 0, &report));
  EXPECT_LT(report.read_bytes, checkpoint_.total_bytes() * 2 / 3);
}

TEST_P(HostPoolTest, TheNextCheckpointOfTheShapeTakesTheSameMemory) {
  const CheckpointLayout layout = layout_of(2);
  LoadReport first;
  LoadReport second;
  std::uint64_t address = 0;
  {
    auto share = load(layout, 1, &first);
    ASSERT_OK(share);
    address = (*share)->segments()[0].address;
  }
  EXPECT_GT(first.populated_bytes, 0u);
  const std::uint64_t reserved = pool_->reserved_bytes();
  auto share = load(layout, 1, &second);
  ASSERT_OK(share);
  EXPECT_EQ(second.populated_bytes, 0u);
  EXPECT_EQ((*share)->segments()[0].address, address);
  EXPECT_EQ(pool_->reserved_bytes(), reserved);
}

TEST_P(HostPoolTest, ASmallerCheckpointTakesTheMemoryAndALargerOneReplacesIt) {
  LoadReport report;
  { ASSERT_OK(load(layout_of(2), 0, &report)); }
  const std::uint64_t reserved = pool_->reserved_bytes();
  { ASSERT_OK(load(layout_of(3), 0, &report)); }
  EXPECT_EQ(report.populated_bytes, 0u);
  EXPECT_EQ(pool_->reserved_bytes(), reserved);
  { ASSERT_OK(load(layout_of(1), 0, &report)); }
  EXPECT_GT(report.populated_bytes, 0u);
  EXPECT_EQ(pool_->reserved_bytes(), align_up(report.populated_bytes, 2 * MiB));
}

TEST_P(HostPoolTest, WhatIsKeptForLaterIsGivenUpWhereMemoryIsScarce) {
  const CheckpointLayout layout = layout_of(1);
  std::unique_ptr<PoolShare> kept = load(layout, 0).value();
  int asked = 0;
  options_.give_up = [&] { return ++asked, std::exchange(kept, nullptr) != nullptr; };
  ASSERT_OK(load(layout, 0));
  EXPECT_NE(kept, nullptr) << "there is room";
  pool_->free_unused();
  options_.num_sharing = 1u << 20;  // ranks that would take as much
  LoadReport report;
  ASSERT_OK(load(layout, 0, &report));
  EXPECT_EQ(asked, 1);
  EXPECT_EQ(kept, nullptr);
  EXPECT_EQ(report.populated_bytes, 0u) << "its memory is the next one's";
  EXPECT_EQ(pool_->num_arenas_made(), 2u);
  pool_->free_unused();
  ASSERT_OK(load(layout, 0));
  EXPECT_EQ(asked, 2) << "nothing is left to give up, and that is no error";
}

TEST_P(HostPoolTest, TwoCheckpointsStandSideBySide) {
  const CheckpointLayout layout = layout_of(1);
  auto a = load(layout, 0);
  auto b = load(layout, 0);
  ASSERT_OK(a);
  ASSERT_OK(b);
  EXPECT_NE((*a)->runs(0, 0)[0].source, (*b)->runs(0, 0)[0].source);
}

TEST_P(HostPoolTest, DigestsAreThoseOfTheUnits) {
  options_.digests = true;
  for (const bool adopt : {false, true}) {
    for (const std::uint64_t chunk : {64 * KiB, 8 * MiB}) {  // several chunks a unit, several units a chunk
      options_.adopt = adopt;
      options_.read_chunk_bytes = chunk;
      const CheckpointLayout layout = layout_of(2);
      for (std::uint32_t rank = 0; rank < 2; ++rank) {
        auto share = load(layout, rank);
        ASSERT_OK(share);
        EXPECT_EQ((*share)->digests(), expected_digests(layout, rank));
      }
    }
  }
}

TEST_P(HostPoolTest, OneChangedByteChangesOneDigest) {
  options_.digests = true;
  const CheckpointLayout layout = layout_of(1);
  const auto before = load(layout, 0).value()->digests();
  change_a_byte();
  checkpoint_ = open_checkpoint(dir_.path()).value();
  const auto after = load(layout, 0).value()->digests();
  ASSERT_EQ(before.size(), after.size());
  int differ = 0;
  for (std::size_t i = 0; i < before.size(); ++i) differ += before[i] == after[i] ? 0 : 1;
  EXPECT_EQ(differ, 1);
}

TEST_P(HostPoolTest, ProgressEndsAtTheTotal) {
  std::mutex mutex;
  LoadProgress last{};
  int calls = 0;
  options_.read_chunk_bytes = 1;  // rounded up to a page: thousands of chunks, few calls
  options_.progress = [&](const LoadProgress& now) {
    const std::lock_guard lock(mutex);
    last = now;
    ++calls;
  };
  LoadReport report;
  ASSERT_OK(load(layout_of(1), 0, &report));
  EXPECT_EQ(last.read_bytes, report.read_bytes);
  EXPECT_EQ(last.total_bytes, report.read_bytes);
  EXPECT_LT(calls, 500);
}

TEST_P(HostPoolTest, FilesInSharedMemoryAreAdoptedInPlaceAndOthersRead) {
  const bool in_memory = std::string(GetParam()) == "/dev/shm";
  options_.adopt = true;
  const CheckpointLayout layout = layout_of(1);
  LoadReport report;
  const Left before = left();
  {
    auto share = load(layout, 0, &report);
    ASSERT_OK(share);
    EXPECT_EQ(report.read_bytes == 0, in_memory);
    EXPECT_EQ((*share)->segments()[0].path, in_memory ? checkpoint_.files[0].path : "");
    EXPECT_EQ(pool_->reserved_bytes() == 0, in_memory);
    std::vector<Bytes> frames;
    place(**share, layout, frames);
    expect_tensors(layout, frames);
  }
  EXPECT_EQ(left().file_mappings, before.file_mappings);
  EXPECT_TRUE(std::filesystem::exists(checkpoint_.files[0].path));
}

TEST_P(HostPoolTest, RunsRiseAndAreNoMoreThanTheTensors) {
  const CheckpointLayout layout = layout_of(1);
  auto share = load(layout, 0);
  ASSERT_OK(share);
  for (std::uint32_t f = 0; f < layout.frames.frames.size(); ++f)
    for (std::uint32_t s = 0; s < layout.frames.frames[f].stripes.size(); ++s) {
      std::uint64_t end = 0;
      EXPECT_LE((*share)->runs(f, s).size(), layout.frames.frames[f].placements.size());
      for (const CopyRun& run : (*share)->runs(f, s)) {
        EXPECT_GE(run.frame_offset_bytes, end);
        end = run.frame_offset_bytes + run.bytes;
      }
    }
}

TEST_P(HostPoolTest, AShareMayOutliveThePool) {
  auto share = load(layout_of(1), 0);
  ASSERT_OK(share);
  pool_.reset();
  EXPECT_EQ((*share)->digests().size(), 0u);
  share->reset();
}

INSTANTIATE_TEST_SUITE_P(Files, HostPoolTest, ::testing::Values("/tmp", "/dev/shm"), testing::pool_place_name);

}  // namespace
}  // namespace ckpt
