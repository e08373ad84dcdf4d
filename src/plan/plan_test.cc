#include "plan/plan.h"

#include "base/bytes.h"
#include "support/matchers.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using testing::Is;

std::vector<Manifest> manifests_of(const std::vector<Parameter>& parameters, std::uint32_t num_ranks, std::uint64_t bucket_bytes) {
  auto layout = std::make_shared<CheckpointLayout>();
  layout->parameters = parameters;
  layout->frames = make_striped_layout(parameters, num_ranks, {bucket_bytes, 1 * MiB}).value();
  std::vector<Manifest> manifests(num_ranks);
  for (std::uint32_t rank = 0; rank < num_ranks; ++rank) {
    manifests[rank].checkpoint = "v1";
    manifests[rank].rank = rank;
    manifests[rank].layout = layout;
  }
  return manifests;
}

std::vector<Parameter> tensors(std::size_t count, std::uint64_t bytes) {
  std::vector<Parameter> parameters;
  for (std::size_t i = 0; i < count; ++i) parameters.push_back({"t" + std::to_string(i), DType::BF16, {bytes / 2}, bytes});
  return parameters;
}

Topology topology_of(std::uint32_t num_ranks, std::uint32_t size) {
  return {num_ranks, size, std::vector<std::string>(num_ranks, "a"), std::vector<bool>(num_ranks / size, true)};
}

TEST(Plan, SlotsFollowFromTheSmallestMemory) {
  const auto manifests = manifests_of(tensors(16, 1 * MiB), 2, 4 * MiB);
  const auto plan = make_plan(manifests, topology_of(2, 2), {{100 * MiB, 9 * MiB}, 0, 3});
  ASSERT_OK(plan);
  EXPECT_EQ(plan->num_slots, 2u);
  EXPECT_EQ(plan->slot_bytes, 4 * MiB);
  EXPECT_THAT(plan->warnings, ::testing::IsEmpty());
}

TEST(Plan, OneSlotIsTheFallbackAndSaysWhatItCosts) {
  const auto manifests = manifests_of(tensors(16, 1 * MiB), 2, 4 * MiB);
  const auto plan = make_plan(manifests, topology_of(2, 1), {{5 * MiB, 9 * MiB}, 0, 3});
  ASSERT_OK(plan);
  EXPECT_EQ(plan->num_slots, 1u);
  EXPECT_THAT(plan->warnings, ::testing::ElementsAre(HasSubstr("only one slot of 4.19 MB")));
}

TEST(Plan, TooLittleForTheLargestTensorSaysTheNeededSize) {
  const auto manifests = manifests_of({{"big", DType::U8, {10 * MiB}, 10 * MiB}}, 2, 1 * MiB);
  EXPECT_THAT(make_plan(manifests, topology_of(2, 2), {{100 * MiB, 9 * MiB}, 0, 3}),
              Is(StatusCode::resource_exhausted, HasSubstr("one slot needs 10485760 bytes and the memory of rank 1 allows 9437184: 1048576 bytes are "
                                                           "missing; the largest tensor, big, takes 10485760 bytes")));
  EXPECT_THAT(make_plan(manifests, topology_of(2, 2), {{100 * MiB, 100 * MiB}, 1 * MiB, 3}),
              Is(StatusCode::resource_exhausted, HasSubstr("raise --memory-limit")));
}

TEST(Plan, TooLittleForTheWantedBucketSaysSo) {
  const auto manifests = manifests_of(tensors(16, 1 * MiB), 2, 4 * MiB);
  EXPECT_THAT(make_plan(manifests, topology_of(2, 2), {{1 * MiB, 9 * MiB}, 0, 3}),
              Is(StatusCode::resource_exhausted, HasSubstr("lower --bucket-size")));
}

TEST(Plan, NoMoreSlotsThanFrames) {
  const auto manifests = manifests_of(tensors(2, 1 * MiB), 2, 4 * MiB);
  const auto plan = make_plan(manifests, topology_of(2, 1), {{1 * GiB, 1 * GiB}, 0, 3});
  ASSERT_OK(plan);
  EXPECT_EQ(plan->num_slots, 1u);
  EXPECT_THAT(plan->warnings, ::testing::IsEmpty());
}

TEST(Plan, ACheckpointWithoutTensorsHasAPlan) {
  const auto plan = make_plan(manifests_of({}, 1, 4 * MiB), topology_of(1, 1), {{1 * GiB}, 0, 3});
  ASSERT_OK(plan);
  EXPECT_EQ(plan->num_slots, 1u);
  EXPECT_THAT(plan_text(*plan, {1e9, 1e9, 1e9}), HasSubstr("0 tensors"));
}

TEST(Plan, RefusesWhatDoesNotFitTogether) {
  auto manifests = manifests_of(tensors(4, 1024), 3, 4 * MiB);
  const MemoryBudget budget{{1 * GiB, 1 * GiB, 1 * GiB}, 0, 3};
  EXPECT_THAT(make_plan(manifests, {3, 2, {}, {true}}, budget), Is(StatusCode::invalid_argument, HasSubstr("does not divide 3 ranks")));
  EXPECT_THAT(make_plan(std::span(manifests).first(2), topology_of(3, 3), budget),
              Is(StatusCode::invalid_argument, HasSubstr("2 manifests for 3 ranks")));
  EXPECT_THAT(make_plan(manifests, topology_of(3, 3), {{1 * GiB}, 0, 3}), Is(StatusCode::invalid_argument, HasSubstr("free memory of 1 ranks")));
  EXPECT_THAT(make_plan(manifests, {3, 3, {"a"}, {true}}, budget), Is(StatusCode::invalid_argument, HasSubstr("1 hosts for 3 ranks")));
  const auto equal_layout = manifests_of(tensors(4, 1024), 3, 4 * MiB);
  manifests[1].layout = equal_layout[1].layout;
  EXPECT_OK(make_plan(manifests, topology_of(3, 3), budget));
  manifests[1].layout = manifests_of(tensors(4, 1024), 3, 1024)[1].layout;
  EXPECT_THAT(make_plan(manifests, topology_of(3, 3), budget), Is(StatusCode::invalid_argument, HasSubstr("rank 1 read other headers")));
  manifests[1].layout = manifests[0].layout;
  manifests[2].checkpoint = "v2";
  EXPECT_THAT(make_plan(manifests, topology_of(3, 3), budget), Is(StatusCode::invalid_argument, HasSubstr("rank 2 holds checkpoint v2, rank 0 v1")));
}

TEST(Plan, DtypesThatEnginesCannotTakeAreRefusedByName) {
  const auto manifests = manifests_of({{"weird", DType::C64, {4}, 32}}, 1, 1 * MiB);
  EXPECT_THAT(make_plan(manifests, topology_of(1, 1), {{1 * GiB}, 0, 3}), Is(StatusCode::invalid_argument, HasSubstr("tensor weird is C64")));
}

TEST(PlanText, NamesDoNotSteerTheTerminal) {
  const auto plan = make_plan(manifests_of({{"a\x1b[2Jb\n", DType::U8, {1}, 1}}, 1, 4 * MiB), topology_of(1, 1), {{1 * GiB}, 0, 3});
  ASSERT_OK(plan);
  EXPECT_THAT(plan_text(*plan, {}), HasSubstr("largest a?[2Jb? with 1 B\n"));
}

TEST(PlanKey, ChangesWithWhatThePlanDependsOn) {
  auto manifests = manifests_of(tensors(16, 1 * MiB), 2, 4 * MiB);
  const std::vector<std::uint64_t> digests{1, 1};
  const MemoryBudget budget{{9 * MiB, 10 * MiB}, 0, 4};
  const std::uint64_t key = plan_key(manifests, digests, topology_of(2, 1), budget);
  EXPECT_EQ(plan_key(manifests, digests, topology_of(2, 1), budget), key);
  EXPECT_NE(plan_key(manifests, std::vector<std::uint64_t>{1, 2}, topology_of(2, 1), budget), key);
  EXPECT_NE(plan_key(manifests, digests, topology_of(2, 2), budget), key);
  EXPECT_NE(plan_key(manifests, digests, topology_of(2, 1), {{9 * MiB, 10 * MiB}, 5 * MiB, 4}), key);
  manifests[1].digests = {{0, 1, 2}};
  const std::uint64_t with_digest = plan_key(manifests, digests, topology_of(2, 1), budget);
  EXPECT_NE(with_digest, key);
  manifests[1].digests[0].stripe = 0;
  EXPECT_NE(plan_key(manifests, digests, topology_of(2, 1), budget), with_digest);
}

TEST(PlanKey, FreeMemoryThatAllowsAsManySlotsChangesNothing) {
  const auto manifests = manifests_of(tensors(16, 1 * MiB), 2, 4 * MiB);
  const std::vector<std::uint64_t> digests{1, 1};
  EXPECT_EQ(plan_key(manifests, digests, topology_of(2, 1), {{9 * MiB, 20 * MiB}, 0, 3}),
            plan_key(manifests, digests, topology_of(2, 1), {{10 * MiB, 11 * MiB}, 0, 3}));
}

}  // namespace
}  // namespace ckpt
