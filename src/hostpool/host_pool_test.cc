#include "hostpool/host_pool.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/bytes.h"
#include "base/fault_point.h"
#include "device/host/host_device.h"
#include "support/matchers.h"
#include "support/temporary_directory.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using testing::Is;
using testing::TemporaryDirectory;

char byte_of(std::size_t tensor, std::uint64_t offset) { return static_cast<char>((tensor * 131 + offset * 7 + offset / 251) & 0xff); }

/// Two shards of U8 tensors with awkward sizes; byte `offset` of tensor i is byte_of(i, offset).
void write_checkpoint(const TemporaryDirectory& dir, const std::vector<std::uint64_t>& sizes) {
  std::size_t tensor = 0;
  for (int shard = 0; shard < 2; ++shard) {
    const std::size_t end = shard == 0 ? sizes.size() / 2 : sizes.size();
    std::string json = "{";
    std::string data;
    for (; tensor < end; ++tensor) {
      json += fmt::format("{}\"t{:03}\":{{\"dtype\":\"U8\",\"shape\":[{}],\"data_offsets\":[{},{}]}}", json.size() > 1 ? "," : "", tensor,
                          sizes[tensor], data.size(), data.size() + sizes[tensor]);
      for (std::uint64_t i = 0; i < sizes[tensor]; ++i) data += byte_of(tensor, i);
    }
    json += "}";
    const std::uint64_t length = json.size();
    dir.write(fmt::format("model-{}.safetensors", shard), std::string(reinterpret_cast<const char*>(&length), sizeof length) + json + data);
  }
}

class HostPoolTest : public ::testing::TestWithParam<const char*> {
 protected:
  HostPoolTest() : dir_(GetParam()) {}
  void SetUp() override {
    write_checkpoint(dir_, {100'000, 256, 0, 5'000'000, 4097, 1, 300'000, 77'777, 1'000'000, 512});
    device_ = make_host_device({0, 2}).value();
    pool_ = make_host_pool(*device_);
    checkpoint_ = open_checkpoint(dir_.path()).value();
  }
  CheckpointLayout layout_of(std::uint32_t num_ranks) const {
    CheckpointLayout layout{checkpoint_.parameters, {}};
    layout.frames = make_striped_layout(layout.parameters, num_ranks, {1 * MiB, 64 * KiB}).value();
    return layout;
  }
  Result<std::unique_ptr<PoolShare>> load(const CheckpointLayout& layout, std::uint32_t rank, LoadReport* report = nullptr) {
    return pool_->load(checkpoint_, layout, rank, options_, Deadline::after(std::chrono::seconds(60)), abort_, report);
  }
  /// Puts the runs of `share` into `frames` as the pipeline does.
  static void place(const PoolShare& share, const CheckpointLayout& layout, std::vector<Bytes>& frames) {
    frames.resize(layout.frames.frames.size());
    for (std::uint32_t f = 0; f < frames.size(); ++f) {
      frames[f].resize(layout.frames.frames[f].bytes);
      for (std::uint32_t s = 0; s < layout.frames.frames[f].stripes.size(); ++s)
        for (const CopyRun& run : share.runs(f, s)) std::memcpy(frames[f].data() + run.frame_offset_bytes, run.source, run.bytes);
    }
  }
  static void expect_tensors(const CheckpointLayout& layout, const std::vector<Bytes>& frames) {
    for (std::uint32_t f = 0; f < frames.size(); ++f)
      for (const Placement& placement : layout.frames.frames[f].placements)
        for (std::uint64_t i = 0; i < layout.parameters[placement.parameter].bytes; ++i)
          ASSERT_EQ(static_cast<char>(frames[f][placement.offset_bytes + i]), byte_of(placement.parameter, i))
              << "tensor " << placement.parameter << " byte " << i;
  }
  static std::size_t open_descriptors() {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator()));
  }

  TemporaryDirectory dir_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<HostPool> pool_;
  Checkpoint checkpoint_;
  LoadOptions options_;
  AbortSignal abort_;
};

TEST_P(HostPoolTest, TheSharesOfAllRanksMakeTheCheckpoint) {
  for (const std::uint32_t num_ranks : {1u, 2u, 3u}) {
    const CheckpointLayout layout = layout_of(num_ranks);
    std::vector<Bytes> frames;
    for (std::uint32_t rank = 0; rank < num_ranks; ++rank) {
      auto share = load(layout, rank);
      ASSERT_OK(share);
      place(**share, layout, frames);
    }
    expect_tensors(layout, frames);
  }
}

TEST_P(HostPoolTest, ARankReadsItsUnitsAndLittleMore) {
  LoadReport report;
  ASSERT_OK(load(layout_of(2), 0, &report));
  EXPECT_LT(report.read_bytes, checkpoint_.total_bytes() * 2 / 3);
}

TEST_P(HostPoolTest, TheNextCheckpointOfTheShapeTakesTheSameMemory) {
  const CheckpointLayout layout = layout_of(2);
  LoadReport first;
  LoadReport second;
  { ASSERT_OK(load(layout, 1, &first)); }
  EXPECT_GT(first.populated_bytes, 0u);
  const std::uint64_t reserved = pool_->reserved_bytes();
  auto share = load(layout, 1, &second);
  ASSERT_OK(share);
  EXPECT_EQ(second.populated_bytes, 0u);
  EXPECT_EQ(pool_->reserved_bytes(), reserved);
}

TEST_P(HostPoolTest, DigestsAreThoseOfTheUnits) {
  options_.digests = true;
  const CheckpointLayout layout = layout_of(2);
  auto a = load(layout, 0);
  auto b = load(layout, 0);
  ASSERT_OK(a);
  ASSERT_OK(b);
  EXPECT_FALSE((*a)->digests().empty());
  EXPECT_EQ((*a)->digests(), (*b)->digests());
  std::fstream(checkpoint_.files[0].path, std::ios::in | std::ios::out | std::ios::binary).seekp(5000).put('!');
  auto changed = load(layout, 0);
  ASSERT_OK(changed);
  EXPECT_NE((*a)->digests(), (*changed)->digests());
}

TEST_P(HostPoolTest, AFileThatShrankIsRefusedAndNothingIsLeft) {
  const std::size_t before = open_descriptors();
  std::filesystem::resize_file(checkpoint_.files[1].path, checkpoint_.files[1].bytes - 10);
  EXPECT_THAT(load(layout_of(1), 0), Is(StatusCode::data_corruption, HasSubstr("model-1.safetensors")));
  EXPECT_EQ(pool_->reserved_bytes(), 0u);
  EXPECT_EQ(open_descriptors(), before);
}

TEST_P(HostPoolTest, AnAbortEndsALoad) {
  abort_.trigger({StatusCode::cancelled, Scope::operation, "enough"});
  EXPECT_THAT(load(layout_of(1), 0), Is(StatusCode::cancelled, HasSubstr("enough")));
  EXPECT_EQ(pool_->reserved_bytes(), 0u);
}

#if defined(CKPT_FAULT_POINTS)
TEST_P(HostPoolTest, EverySystemCallMayFailAndLeavesNothing) {
  const CheckpointLayout layout = layout_of(1);
  const std::size_t before = open_descriptors();
  int failures = 0;
  for (std::uint64_t nth = 1;; ++nth) {
    ASSERT_OK(set_fault_rules(fmt::format("*:{}:error", nth)));
    const bool ok = load(layout, 0).ok();
    const bool fired = fault_point_passes() >= nth;
    ASSERT_OK(set_fault_rules(""));
    EXPECT_EQ(open_descriptors(), before);
    if (!fired) break;
    pool_ = make_host_pool(*device_);  // a call whose failure is tolerated leaves an arena for reuse
    if (!ok) ++failures;
  }
  EXPECT_GT(failures, 3);
  EXPECT_OK(load(layout, 0));
}

#endif

TEST_P(HostPoolTest, FilesInSharedMemoryAreAdoptedInPlaceAndOthersRead) {
  const bool in_memory = std::string(GetParam()) == "/dev/shm";
  options_.adopt = true;
  const CheckpointLayout layout = layout_of(1);
  LoadReport report;
  {
    auto share = load(layout, 0, &report);
    ASSERT_OK(share);
    EXPECT_EQ(report.read_bytes == 0, in_memory);
    EXPECT_EQ((*share)->segments()[0].path, in_memory ? checkpoint_.files[0].path : "");
    std::vector<Bytes> frames;
    place(**share, layout, frames);
    expect_tensors(layout, frames);
  }
  EXPECT_TRUE(std::filesystem::exists(checkpoint_.files[0].path));
}

INSTANTIATE_TEST_SUITE_P(Files, HostPoolTest, ::testing::Values("/tmp", "/dev/shm"),
                         [](const auto& place) { return std::string(place.param) == "/tmp" ? "OnDisk" : "InMemory"; });

}  // namespace
}  // namespace ckpt
