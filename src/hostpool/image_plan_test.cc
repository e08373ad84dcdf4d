#include "hostpool/image_plan.h"

#include "base/bytes.h"
#include "hostpool/image_chunks.h"
#include "support/matchers.h"

namespace ckpt {
namespace {

/// One file of `sizes`, tensors back to back behind a header of `head` bytes, striped over `num_ranks`.
struct Made {
  Checkpoint checkpoint;
  CheckpointLayout layout;
};
Made make(const std::vector<std::uint64_t>& sizes, std::uint64_t head, std::uint32_t num_ranks) {
  Made made;
  std::uint64_t at = head;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    made.checkpoint.parameters.push_back({fmt::format("t{}", i), DType::U8, {sizes[i]}, sizes[i]});
    made.checkpoint.locations.push_back({0, at});
    at += sizes[i];
  }
  made.checkpoint.files.push_back({"f", at, {}, 0});
  made.layout.parameters = made.checkpoint.parameters;
  made.layout.frames = make_striped_layout(made.layout.parameters, num_ranks, {1 * MiB, 64 * KiB}).value();
  return made;
}

std::uint64_t image_bytes(const ImagePlan& plan) {
  std::uint64_t sum = 0;
  for (const Image& image : plan.images) sum += image.bytes;
  return sum;
}

TEST(ImagePlan, OneRankReadsTheFileInOneImage) {
  const Made made = make({100'000, 7, 900'001, 512}, 1234, 1);
  const ImagePlan plan = plan_images(made.checkpoint, made.layout, 0);
  ASSERT_EQ(plan.images.size(), 1u);
  EXPECT_EQ(plan.images[0].file_offset_bytes, 0u);
  EXPECT_EQ(plan.images[0].bytes, made.checkpoint.files[0].bytes);
  EXPECT_EQ(plan.arena_bytes, align_up(made.checkpoint.files[0].bytes, kImageAlignment));
}

TEST(ImagePlan, AddressesAndOffsetsAgreeAndImagesDoNotTouch) {
  const Made made = make({3'000'000, 4097, 1, 2'000'000, 123'456}, 5678, 3);
  for (std::uint32_t rank = 0; rank < 3; ++rank) {
    const ImagePlan plan = plan_images(made.checkpoint, made.layout, rank);
    std::uint64_t file_end = 0;
    std::uint64_t arena_end = 0;
    for (const Image& image : plan.images) {
      EXPECT_EQ(image.file_offset_bytes % kImageAlignment, 0u);
      EXPECT_EQ(image.arena_offset_bytes % kImageAlignment, 0u);
      EXPECT_GE(image.file_offset_bytes, file_end);
      EXPECT_GE(image.arena_offset_bytes, arena_end);
      file_end = image.file_offset_bytes + image.bytes;
      arena_end = image.arena_offset_bytes + image.bytes;
      EXPECT_LE(file_end, made.checkpoint.files[0].bytes);
    }
    EXPECT_LE(arena_end, plan.arena_bytes);
    EXPECT_LT(image_bytes(plan), made.checkpoint.total_bytes() / 2);
    for (const PlacedExtent& extent : plan.extents) EXPECT_LE(extent.image_offset_bytes + extent.bytes, plan.images[extent.image].bytes);
  }
}

TEST(ImagePlan, TensorsWithoutBytesNeedNothing) {
  const Made made = make({0, 0}, 100, 2);
  const ImagePlan plan = plan_images(made.checkpoint, made.layout, 1);
  EXPECT_TRUE(plan.images.empty());
  EXPECT_EQ(plan.arena_bytes, 0u);
}

TEST(ImagePlan, ManyTensorsOnManyRanks) {  // quadratic work would run into the time limit of the tests
  const Made made = make(std::vector<std::uint64_t>(140'000, 300), 10'000'000, 8);
  std::size_t extents = 0;
  for (std::uint32_t rank = 0; rank < 8; ++rank) extents += plan_images(made.checkpoint, made.layout, rank).extents.size();
  EXPECT_GE(extents, 140'000u);
}

TEST(ImageChunks, CoverEveryImageAndFindTheirBytes) {
  const Made made = make({3'000'000, 4097, 2'000'000}, 5678, 2);
  const ImagePlan plan = plan_images(made.checkpoint, made.layout, 1);
  for (const std::uint64_t step : {std::uint64_t{0}, std::uint64_t{5000}, 1 * MiB, 64 * MiB}) {
    const ImageChunks chunks(plan, step);
    std::uint64_t bytes = 0;
    for (std::size_t i = 0; i < chunks.all().size(); ++i) {
      const Chunk& chunk = chunks.all()[i];
      bytes += chunk.bytes;
      EXPECT_EQ(chunk.offset_bytes % kImageAlignment, 0u);
      EXPECT_EQ(chunks.index_of(chunk.image, chunk.offset_bytes), i);
      EXPECT_EQ(chunks.index_of(chunk.image, chunk.offset_bytes + chunk.bytes - 1), i);
    }
    EXPECT_EQ(bytes, image_bytes(plan));
  }
}

}  // namespace
}  // namespace ckpt
