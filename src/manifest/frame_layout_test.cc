#include "manifest/frame_layout.h"

#include <random>

#include "base/bytes.h"
#include "support/matchers.h"

namespace ckpt {
namespace {

using testing::Is;

std::vector<Parameter> random_parameters(std::mt19937& random, std::size_t count) {
  std::vector<Parameter> parameters;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t bytes = random() % 10 == 0 ? 0 : random() % (random() % 7 == 0 ? 100'000 : 3'000);
    parameters.push_back({"t" + std::to_string(i), DType::U8, {bytes}, bytes});
  }
  return parameters;
}

/// Every byte of every tensor must lie in exactly one extent of exactly one rank, inside its unit.
void expect_covered_once(const FrameLayout& layout, const std::vector<Parameter>& parameters) {
  std::vector<std::uint64_t> next(parameters.size(), 0);
  std::vector<int> placed(parameters.size(), 0);
  for (std::uint32_t f = 0; f < layout.frames.size(); ++f) {
    const Frame& frame = layout.frames[f];
    EXPECT_LE(frame.bytes, layout.frame_bytes);
    for (const Placement& p : frame.placements) {
      EXPECT_EQ(p.offset_bytes % kTensorAlignment, 0u);
      EXPECT_LE(p.offset_bytes + parameters[p.parameter].bytes, frame.bytes);
      ++placed[p.parameter];
    }
    std::uint64_t covered = 0;
    for (std::uint32_t s = 0; s < frame.stripes.size(); ++s) {
      EXPECT_EQ(frame.stripes[s].offset_bytes, covered);
      for (std::uint32_t r = 0; r < layout.num_ranks; ++r) {
        EXPECT_EQ(frame.stripes[s].unit_bytes[r] % kTensorAlignment, 0u);
        for (const Extent& e : extents_of(layout, parameters, f, s, r)) {
          EXPECT_EQ(e.tensor_offset_bytes, next[e.parameter]);
          next[e.parameter] += e.bytes;
          EXPECT_GE(e.frame_offset_bytes, frame.stripes[s].unit_offset(r));
          EXPECT_LE(e.frame_offset_bytes + e.bytes, frame.stripes[s].unit_offset(r) + frame.stripes[s].unit_bytes[r]);
        }
      }
      covered += frame.stripes[s].bytes();
    }
    EXPECT_EQ(covered, frame.bytes);
  }
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    EXPECT_EQ(next[i], parameters[i].bytes) << parameters[i].name;
    EXPECT_EQ(placed[i], 1) << parameters[i].name;
  }
}

TEST(StripedLayout, EveryByteLiesOnOneRankAndRanksHoldEqualShares) {
  std::mt19937 random(7);
  for (std::uint32_t num_ranks = 1; num_ranks <= 9; ++num_ranks) {
    const auto parameters = random_parameters(random, 300);
    const auto layout = make_striped_layout(parameters, num_ranks, {64 * KiB, 4 * KiB});
    ASSERT_OK(layout);
    expect_covered_once(*layout, parameters);
    for (const Frame& frame : layout->frames)
      for (const Stripe& stripe : frame.stripes) EXPECT_TRUE(stripe.even());
    for (std::uint32_t r = 1; r < num_ranks; ++r) EXPECT_EQ(layout->bytes_of(r), layout->bytes_of(0));
  }
}

TEST(StripedLayout, StripesHaveUnitsOfAtMostTheWantedSizeAndOneStripeTakesTheRest) {
  const std::vector<Parameter> parameters{{"a", DType::U8, {10'000}, 10'000}, {"b", DType::U8, {3}, 3}};
  const auto layout = make_striped_layout(parameters, 3, {64 * KiB, 1'500});
  ASSERT_OK(layout);
  ASSERT_EQ(layout->frames.size(), 1u);
  // 10,000 → 10,240, and 256 more: 10,496 → 14 × 768; units of 1,280, two whole stripes of 3,840 and one of 3,072.
  const std::vector<Stripe> expected{{0, {1'280, 1'280, 1'280}}, {3'840, {1'280, 1'280, 1'280}}, {7'680, {1'024, 1'024, 1'024}}};
  EXPECT_EQ(layout->frames[0].stripes, expected);
  EXPECT_EQ(layout->frames[0].bytes, 10'752u);
}

TEST(StripedLayout, AnyOptionsGiveUnitsOf256) {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    const auto parameters = random_parameters(random, random() % 40);
    const auto num_ranks = static_cast<std::uint32_t>(random() % 9 + 1);
    const auto layout = make_striped_layout(parameters, num_ranks, {random() % 20'000, random() % 5'000});
    ASSERT_OK(layout);
    expect_covered_once(*layout, parameters);
    std::uint64_t padding = layout->total_bytes();
    for (const Parameter& parameter : parameters) padding -= align_up(parameter.bytes, kTensorAlignment);
    EXPECT_LE(padding, layout->frames.size() * kTensorAlignment * (num_ranks - 1));
  }
}

TEST(StripedLayout, NoTensorsGiveNoFrames) {
  const auto layout = make_striped_layout({}, 4, {64 * KiB, 4 * KiB});
  ASSERT_OK(layout);
  EXPECT_EQ(layout->frames.size(), 0u);
  EXPECT_EQ(layout->bytes_of(3), 0u);
}

TEST(StripedLayout, ADescriptionWithoutBoundsIsRefusedBeforeItIsMade) {
  const std::uint64_t huge = std::uint64_t{1} << 60;
  const std::vector<Parameter> parameters{{"a", DType::U8, {huge}, huge}};
  EXPECT_THAT(make_striped_layout(parameters, 2, {256, 256}), Is(StatusCode::invalid_argument, ::testing::HasSubstr("raise --stripe-size")));
  EXPECT_OK(make_striped_layout(parameters, 2, {256, huge}));
  EXPECT_THAT(make_striped_layout({}, ~0u, {256, 256}), Is(StatusCode::invalid_argument, ::testing::HasSubstr("4294967295 ranks")));
}

TEST(FitFrames, ASmallCheckpointMakesManyFramesAndALargeOneKeepsTheWantedSize) {
  const auto fitted = [](std::uint64_t total_bytes, std::uint32_t num_ranks, std::uint64_t wanted) {
    const std::vector<Parameter> parameters(10, {"t", DType::U8, {total_bytes / 10}, total_bytes / 10});
    const FrameOptions options = fit_frames({wanted, 32 * MiB}, parameters, num_ranks);
    EXPECT_EQ(options.stripe_bytes, 32 * MiB);
    return options.bucket_bytes;
  };
  EXPECT_EQ(fitted(160 * GiB, 4, 256 * MiB), 256 * MiB);
  EXPECT_EQ(fitted(1600 * MiB, 4, 256 * MiB), 100 * MiB);
  EXPECT_EQ(fitted(160 * MiB, 4, 256 * MiB), 16 * MiB);  // units of 4 MiB
  EXPECT_EQ(fitted(160 * MiB, 4, 256 * KiB), 256 * KiB);
  EXPECT_EQ(fitted(0, 1, 256 * MiB), 4 * MiB);
}

TEST(StripedLayout, ALargerTensorSetsTheFrame) {
  const std::vector<Parameter> parameters{{"small", DType::U8, {10}, 10}, {"large", DType::U8, {1'000'000}, 1'000'000}};
  const auto layout = make_striped_layout(parameters, 4, {1024, 1 * MiB});
  ASSERT_OK(layout);
  EXPECT_EQ(layout->frames.size(), 2u);
  EXPECT_GE(layout->frame_bytes, 1'000'000u);
  expect_covered_once(*layout, parameters);
}

TEST(StripedLayout, SizesThatOverflowAreRefused) {
  const std::uint64_t huge = std::uint64_t{1} << 61;
  const std::vector<Parameter> parameters{{"a", DType::U8, {huge}, huge}, {"b", DType::U8, {huge}, huge}, {"c", DType::U8, {huge}, huge}};
  EXPECT_THAT(make_striped_layout(parameters, 2, {1024, 1024}), Is(StatusCode::invalid_argument, ::testing::HasSubstr("up to b")));
  EXPECT_THAT(make_striped_layout(parameters, 0, {1024, 1024}), Is(StatusCode::invalid_argument, ::testing::HasSubstr("0 ranks")));
}

TEST(ShareLayout, TensorsStayWholeOnTheirRank) {
  std::mt19937 random(11);
  for (std::uint32_t num_ranks = 1; num_ranks <= 5; ++num_ranks) {
    const auto parameters = random_parameters(random, 200);
    std::vector<std::uint32_t> owner(parameters.size());
    for (auto& rank : owner) rank = static_cast<std::uint32_t>(random()) % num_ranks;
    std::sort(owner.begin(), owner.end());
    const auto layout = make_share_layout(parameters, owner, num_ranks, {64 * KiB, 4 * KiB});
    ASSERT_OK(layout);
    expect_covered_once(*layout, parameters);
    for (std::uint32_t f = 0; f < layout->frames.size(); ++f)
      for (std::uint32_t s = 0; s < layout->frames[f].stripes.size(); ++s)
        for (std::uint32_t r = 0; r < num_ranks; ++r)
          for (const Extent& e : extents_of(*layout, parameters, f, s, r)) {
            EXPECT_EQ(owner[e.parameter], r);
            EXPECT_EQ(e.bytes, parameters[e.parameter].bytes);
          }
  }
}

TEST(ShareLayout, UnevenSharesAdvanceTogether) {
  std::mt19937 random(5);
  std::vector<Parameter> parameters;
  std::vector<std::uint32_t> owner;
  const std::uint64_t count[] = {400, 100, 0, 900};
  for (std::uint32_t rank = 0; rank < 4; ++rank)
    for (std::uint64_t i = 0; i < count[rank]; ++i) {
      const std::uint64_t bytes = random() % 4'000;
      parameters.push_back({fmt::format("r{}.{}", rank, i), DType::U8, {bytes}, bytes});
      owner.push_back(rank);
    }
  const auto layout = make_share_layout(parameters, owner, 4, {64 * KiB, 4 * KiB});
  ASSERT_OK(layout);
  EXPECT_EQ(layout->shares, (std::vector<std::uint32_t>{400, 100, 0, 900}));
  expect_covered_once(*layout, parameters);
  std::vector<std::uint64_t> taken(4, 0);
  for (const Frame& frame : layout->frames)
    for (std::uint32_t rank : {0u, 1u, 3u}) {
      taken[rank] += frame.stripes[0].unit_bytes[rank];
      const double progress = static_cast<double>(taken[rank]) / static_cast<double>(layout->bytes_of(rank));
      const double others = static_cast<double>(taken[0]) / static_cast<double>(layout->bytes_of(0));
      EXPECT_NEAR(progress, others, 0.05);
    }
}

TEST(ShareLayout, LargeTensorsOfTwoRanksTakeTurns) {
  std::vector<Parameter> parameters;
  for (int i = 0; i < 6; ++i) parameters.push_back({fmt::format("t{}", i), DType::U8, {6 * KiB}, 6 * KiB});
  const auto layout = make_share_layout(parameters, std::vector<std::uint32_t>{0, 0, 0, 1, 1, 1}, 2, {10 * KiB, 4 * KiB});
  ASSERT_OK(layout);
  std::vector<std::uint32_t> order;
  for (const Frame& frame : layout->frames) order.push_back(frame.placements.at(0).parameter);
  EXPECT_EQ(order, (std::vector<std::uint32_t>{0, 3, 1, 4, 2, 5}));
}

TEST(ShareLayout, OwnersThatFallAreRefused) {
  const std::vector<Parameter> parameters{{"a", DType::U8, {1}, 1}, {"b", DType::U8, {1}, 1}};
  EXPECT_THAT(make_share_layout(parameters, std::vector<std::uint32_t>{1, 0}, 2, {1024, 1024}),
              Is(StatusCode::invalid_argument, ::testing::HasSubstr("tensor b belongs to rank 0")));
}

}  // namespace
}  // namespace ckpt
