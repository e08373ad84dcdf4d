// Tensors out of a caller's memory, and shares whose layout becomes known after they were loaded.
#include <xxhash.h>

#include "checkpoint/tensor_memory.h"
#include "support/pool_fixture.h"

namespace ckpt {
namespace {

class CallerTensors : public testing::PoolFixture {
 protected:
  void SetUp() override {
    testing::PoolFixture::SetUp();
    std::vector<MemoryTensor> tensors;
    for (std::size_t i = 0; i < tensors_.size(); ++i)
      tensors.push_back({checkpoint_.parameters[i], {reinterpret_cast<const std::byte*>(tensor(i).data()), tensor(i).size()}, i % 2 == 0});
    checkpoint_ = {};
    ASSERT_OK(add_tensors(tensors, checkpoint_));
  }
};

TEST_P(CallerTensors, AreHeldAsThoseOfFiles) { expect_shares_make_the_checkpoint({1u, 3u}); }

/// What rank 1 of two brought, loaded alone and then laid out beside rank 0's.
TEST_P(CallerTensors, AShareIsLaidOutAgainWithoutBeingReadAgain) {
  const CheckpointLayout alone = layout_of(1);
  auto share = load(alone, 0);
  ASSERT_OK(share);
  checkpoint_.files[0].memory.reset();
  CheckpointLayout all{checkpoint_.parameters, {}};
  all.parameters.insert(all.parameters.begin(), {"of rank 0", DType::U8, {300'000}, 300'000});
  std::vector<std::uint32_t> owner(all.parameters.size(), 1);
  owner[0] = 0;
  all.frames = make_share_layout(all.parameters, owner, 2, {1 * MiB, 64 * KiB}).value();
  Checkpoint merged = checkpoint_;
  merged.parameters = all.parameters;
  merged.locations.insert(merged.locations.begin(), TensorLocation{0, 0});
  ASSERT_OK((*share)->lay_out_again(merged, all, 1, true, abort_));
  std::vector<Bytes> frames;
  place(**share, all, frames);
  for (std::uint32_t f = 0; f < frames.size(); ++f)
    for (const Placement& placement : all.frames.frames[f].placements) {
      if (placement.parameter == 0) continue;  // rank 0's
      EXPECT_EQ(as_text(frames[f]).substr(placement.offset_bytes, sizes_[placement.parameter - 1]), tensor(placement.parameter - 1));
    }
  ASSERT_FALSE((*share)->digests().empty());
  for (const UnitDigest& digest : (*share)->digests()) {
    std::string bytes;
    for (const CopyRun& run : (*share)->runs(digest.frame, digest.stripe)) bytes.append(reinterpret_cast<const char*>(run.source), run.bytes);
    EXPECT_EQ(digest.xxh3, XXH3_64bits(bytes.data(), bytes.size()));
  }
}

TEST_P(CallerTensors, AnotherLayoutsBytesAreRefused) {
  auto share = load(layout_of(2), 0);
  ASSERT_OK(share);
  EXPECT_EQ((*share)->lay_out_again(checkpoint_, layout_of(1), 0, false, abort_).code(), StatusCode::internal);
}

INSTANTIATE_TEST_SUITE_P(Places, CallerTensors, ::testing::Values("/tmp"), testing::pool_place_name);

}  // namespace
}  // namespace ckpt
