// Whole plans as text: one case a file of tests/golden/plan/. Rewrite them with CKPT_REWRITE_GOLDEN=1.
#include "base/bytes.h"
#include "plan/plan.h"
#include "support/golden.h"
#include "support/matchers.h"

namespace ckpt {
namespace {

constexpr LinkRates kRates{8e9, 4e9, 8e9};

void add(std::vector<Parameter>& parameters, const std::string& name, DType dtype, std::vector<std::uint64_t> shape) {
  const std::uint64_t bytes = tensor_bytes(dtype, shape).value();
  parameters.push_back({name, dtype, std::move(shape), bytes});
}

/// A dense model: `hidden` wide, four layers.
std::vector<Parameter> dense_model(std::uint64_t hidden, std::uint64_t vocabulary) {
  std::vector<Parameter> parameters;
  add(parameters, "model.embed_tokens.weight", DType::BF16, {vocabulary, hidden});
  for (int layer = 0; layer < 4; ++layer) {
    const std::string prefix = fmt::format("model.layers.{}.", layer);
    for (const char* projection : {"q_proj", "k_proj", "v_proj", "o_proj"})
      add(parameters, prefix + "self_attn." + projection + ".weight", DType::BF16, {hidden, hidden});
    for (const char* projection : {"gate_proj", "up_proj"})
      add(parameters, prefix + "mlp." + projection + ".weight", DType::BF16, {3 * hidden, hidden});
    add(parameters, prefix + "mlp.down_proj.weight", DType::BF16, {hidden, 3 * hidden});
    add(parameters, prefix + "input_layernorm.weight", DType::BF16, {hidden});
  }
  add(parameters, "model.norm.weight", DType::BF16, {hidden});
  return parameters;
}

/// A mixture of experts in FP8 with block scales.
std::vector<Parameter> moe_model() {
  std::vector<Parameter> parameters;
  add(parameters, "model.embed_tokens.weight", DType::BF16, {32'000, 2'048});
  for (int layer = 0; layer < 2; ++layer)
    for (int expert = 0; expert < 64; ++expert)
      for (const char* projection : {"gate_proj", "up_proj", "down_proj"}) {
        const std::string name = fmt::format("model.layers.{}.mlp.experts.{}.{}.weight", layer, expert, projection);
        add(parameters, name, DType::F8_E4M3, {768, 2'048});
        add(parameters, name + "_scale_inv", DType::F32, {6, 16});
      }
  return parameters;
}

std::vector<Manifest> manifests_of(std::vector<Parameter> parameters, FrameLayout frames) {
  auto layout = std::make_shared<CheckpointLayout>();
  layout->parameters = std::move(parameters);
  layout->frames = std::move(frames);
  std::vector<Manifest> manifests(layout->frames.num_ranks);
  for (std::uint32_t rank = 0; rank < manifests.size(); ++rank) manifests[rank] = {"step-1", rank, "", "", 0, layout, {}, {}};
  return manifests;
}

std::vector<Manifest> striped(std::vector<Parameter> parameters, std::uint32_t num_ranks, std::uint64_t bucket_bytes) {
  FrameLayout frames = make_striped_layout(parameters, num_ranks, {bucket_bytes, 32 * MiB}).value();
  return manifests_of(std::move(parameters), std::move(frames));
}

MemoryBudget memory_of(std::uint32_t num_ranks, std::uint64_t bytes) { return {std::vector<std::uint64_t>(num_ranks, bytes), 0, 3}; }

void expect_plan(const std::string& name, const std::vector<Manifest>& manifests, const Topology& topology, const MemoryBudget& budget) {
  const Result<Plan> plan = make_plan(manifests, topology, budget);
  testing::expect_golden(fmt::format("{}/{}.txt", CKPT_GOLDEN_PLANS, name), plan.ok() ? plan_text(*plan, kRates) : plan.status().to_string() + "\n");
}

TEST(PlanGolden, DenseOnOneRank) {
  expect_plan("dense_1rank", striped(dense_model(1'024, 32'000), 1, 64 * MiB), {1, 1, {"a"}, {true}}, memory_of(1, 8 * GiB));
}

TEST(PlanGolden, MixtureOfExpertsOnAnEngineOfTwo) {
  expect_plan("tp2_moe_2ranks", striped(moe_model(), 2, 128 * MiB), {2, 2, {"a", "a"}, {true}}, memory_of(2, 8 * GiB));
}

TEST(PlanGolden, FourRanksDriveTwoEngines) {
  expect_plan("4ranks_2engines", striped(dense_model(1'024, 32'000), 4, 64 * MiB), {4, 2, {"a", "a", "b", "b"}, {true, true}}, memory_of(4, 8 * GiB));
}

TEST(PlanGolden, GroupsWithoutAnEngineHoldAndSend) {
  expect_plan("6ranks_1engine", striped(dense_model(1'024, 32'000), 6, 64 * MiB), {6, 2, {}, {true, false, false}}, memory_of(6, 8 * GiB));
}

TEST(PlanGolden, OneSlotIsTheFallback) {
  expect_plan("one_slot_fallback", striped(dense_model(1'024, 32'000), 2, 64 * MiB), {2, 2, {"a", "a"}, {true}}, memory_of(2, 100 * MiB));
}

TEST(PlanGolden, UnevenShares) {
  std::vector<Parameter> parameters = dense_model(512, 16'000);
  std::vector<std::uint32_t> owner(parameters.size(), 1);
  std::fill_n(owner.begin(), 8, 0);
  std::fill_n(owner.rbegin(), 3, 3);
  FrameLayout frames = make_share_layout(parameters, owner, 4, {16 * MiB, 32 * MiB}).value();
  expect_plan("uneven_shares", manifests_of(std::move(parameters), std::move(frames)), {4, 2, {"a", "a", "b", "b"}, {true, true}},
              memory_of(4, 8 * GiB));
}

TEST(PlanGolden, TooLittleMemoryForTheLargestTensorIsRefused) {
  expect_plan("refused_largest_tensor", striped(dense_model(1'024, 32'000), 2, 16 * MiB), {2, 2, {}, {true}}, {{8 * GiB, 50 * MiB}, 0, 3});
}

TEST(PlanGolden, TooLittleMemoryForTheBucketIsRefused) {
  expect_plan("refused_bucket", striped(dense_model(512, 1'000), 2, 16 * MiB), {2, 2, {}, {true}}, {{8 * GiB, 8 * GiB}, 10 * MiB, 3});
}

TEST(PlanGolden, AGroupSizeThatDoesNotDivideIsRefused) {
  expect_plan("refused_group_size", striped(dense_model(512, 1'000), 4, 16 * MiB), {4, 3, {}, {true}}, memory_of(4, 8 * GiB));
}

}  // namespace
}  // namespace ckpt
