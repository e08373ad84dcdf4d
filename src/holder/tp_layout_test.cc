#include "holder/tp_layout.h"

#include <numeric>

#include "support/matchers.h"

namespace ckpt {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::Is;
using Shape = std::vector<std::uint64_t>;

Parameter parameter(std::string name, Shape shape, DType dtype = DType::BF16) {
  const auto bytes = tensor_bytes(dtype, shape);
  return {std::move(name), dtype, std::move(shape), *bytes};
}

// The shard of the last tensor of `parameters`.
Result<TensorShard> shard_of(const std::vector<Parameter>& parameters, const TpConfig& config, std::uint32_t tp, std::uint32_t rank) {
  CKPT_ASSIGN_OR_RETURN(const std::vector<TensorShard> shards, make_tp_layout(parameters, config, tp, rank));
  return shards.back();
}

constexpr TpConfig kQwen{16, 8, 0, 0};
constexpr TpConfig kBlocks{16, 8, 128, 128};

TEST(TpLayout, CutsByName) {
  const struct {
    const char* name;
    Shape shape;
    std::uint32_t tp;
    std::uint32_t rank;
    TensorShard expected;
  } cases[] = {
      // rows
      {"model.layers.0.self_attn.q_proj.weight", {2048, 1024}, 4, 1, {{512, 1024}, 512 * 2048, 1, 512 * 2048, 2048 * 2048}},
      {"model.layers.0.self_attn.q_proj.bias", {2048}, 4, 3, {{512}, 1536 * 2, 1, 1024, 4096}},
      {"model.layers.0.self_attn.k_proj.weight", {1024, 1024}, 2, 1, {{512, 1024}, 512 * 2048, 1, 512 * 2048, 1024 * 2048}},
      {"model.layers.0.mlp.gate_proj.weight", {3072, 1024}, 2, 0, {{1536, 1024}, 0, 1, 1536 * 2048, 3072 * 2048}},
      {"model.layers.0.mlp.experts.7.up_proj.weight", {768, 1024}, 2, 1, {{384, 1024}, 384 * 2048, 1, 384 * 2048, 768 * 2048}},
      {"model.layers.0.mlp.shared_experts.up_proj.weight", {768, 1024}, 2, 1, {{384, 1024}, 384 * 2048, 1, 384 * 2048, 768 * 2048}},
      {"model.layers.0.self_attn.q_b_proj.weight", {3072, 512}, 2, 1, {{1536, 512}, 1536 * 1024, 1, 1536 * 1024, 3072 * 1024}},
      {"model.layers.0.self_attn.kv_b_proj.weight", {4096, 512}, 2, 1, {{2048, 512}, 2048 * 1024, 1, 2048 * 1024, 4096 * 1024}},
      // fewer kv heads than tp: 8 heads of 128 rows on 16 ranks
      {"model.layers.0.self_attn.k_proj.weight", {1024, 64}, 16, 5, {{128, 64}, 256 * 128, 1, 128 * 128, 1024 * 128}},
      {"model.layers.0.self_attn.v_proj.bias", {1024}, 16, 15, {{128}, 896 * 2, 1, 256, 2048}},
      // vocabulary: 1000 rows are padded to 1024
      {"model.embed_tokens.weight", {1000, 8}, 4, 0, {{256, 8}, 0, 1, 256 * 16, 16000}},
      {"lm_head.weight", {1000, 8}, 4, 3, {{232, 8}, 768 * 16, 1, 232 * 16, 16000}},
      {"model.embed_tokens.weight", {60, 8}, 64, 63, {{0, 8}, 60 * 16, 1, 0, 960}},
      // columns
      {"model.layers.0.self_attn.o_proj.weight", {1024, 2048}, 4, 1, {{1024, 512}, 1024, 1024, 1024, 4096}},
      {"model.layers.0.mlp.down_proj.weight", {1024, 3072}, 2, 1, {{1024, 1536}, 3072, 1024, 3072, 6144}},
      // whole
      {"model.layers.0.self_attn.o_proj.bias", {1024}, 4, 1, {{1024}, 0, 1, 2048, 2048}},
      {"model.layers.0.mlp.gate.weight", {128, 1024}, 4, 1, {{128, 1024}, 0, 1, 128 * 2048, 128 * 2048}},
      {"model.layers.0.self_attn.q_a_proj.weight", {128, 1024}, 4, 1, {{128, 1024}, 0, 1, 128 * 2048, 128 * 2048}},
      {"model.layers.0.self_attn.kv_a_proj_with_mqa.weight", {127, 8}, 4, 1, {{127, 8}, 0, 1, 127 * 16, 127 * 16}},
      {"model.layers.0.self_attn.qkv_proj.weight", {4096, 8}, 4, 1, {{4096, 8}, 0, 1, 4096 * 16, 4096 * 16}},
      {"model.layers.0.mlp.gate_up_proj.weight", {4096, 8}, 4, 1, {{4096, 8}, 0, 1, 4096 * 16, 4096 * 16}},
      {"model.layers.0.mlp.experts.down_proj", {4, 8, 8}, 4, 1, {{4, 8, 8}, 0, 1, 512, 512}},
      {"model.layers.0.self_attn.q_norm.weight", {128}, 4, 1, {{128}, 0, 1, 256, 256}},
      {"model.layers.0.self_attn.q_proj.weight_scale", {}, 4, 1, {{}, 0, 1, 2, 2}},
      {"model.layers.0.self_attn.q_proj.weight_scale", {1}, 4, 1, {{1}, 0, 1, 2, 2}},
      {"model.layers.0.mlp.down_proj.weight_scale", {1024, 1}, 4, 1, {{1024, 1}, 0, 1, 2048, 2048}},
      {"model.norm.weight", {1024}, 4, 1, {{1024}, 0, 1, 2048, 2048}},
      {"lm_head.bias", {1000}, 4, 1, {{1000}, 0, 1, 2000, 2000}},
      {"q_proj", {4}, 4, 1, {{4}, 0, 1, 8, 8}},
      {"weight", {4}, 4, 1, {{4}, 0, 1, 8, 8}},
      // nothing is cut, and nothing refused, without tensor parallelism
      {"model.layers.0.mlp.down_proj.weight", {3, 5}, 1, 0, {{3, 5}, 0, 1, 30, 30}},
  };
  for (const auto& [name, shape, tp, rank, expected] : cases) {
    const Result<TensorShard> shard = shard_of({parameter(name, shape)}, kQwen, tp, rank);
    ASSERT_OK(shard) << name;
    EXPECT_EQ(*shard, expected) << name;
  }
}

TEST(TpLayout, CutsBlockScalesWithTheirWeights) {
  const Parameter gate = parameter("m.gate_proj.weight", {768, 512}, DType::F8_E4M3);
  const Parameter gate_scale = parameter("m.gate_proj.weight_scale_inv", {6, 4}, DType::F32);
  EXPECT_EQ(shard_of({gate, gate_scale}, kBlocks, 2, 1)->shape, (Shape{3, 4}));
  EXPECT_EQ(shard_of({gate, gate_scale}, kBlocks, 2, 1)->source_offset_bytes, 3 * 16u);
  EXPECT_EQ(shard_of({gate, gate_scale}, kBlocks, 3, 2)->shape, (Shape{2, 4}));

  const Parameter down = parameter("m.down_proj.weight", {512, 768}, DType::F8_E4M3);
  const Parameter down_scale = parameter("m.down_proj.weight_scale_inv", {4, 6}, DType::F32);
  EXPECT_EQ(*shard_of({down_scale, down, down_scale}, kBlocks, 2, 1), (TensorShard{{4, 3}, 12, 4, 12, 24}));

  // without the block in config.json it follows from the shapes; a scale a row is a block of one
  EXPECT_EQ(shard_of({gate, gate_scale}, kQwen, 2, 1)->shape, (Shape{3, 4}));
  EXPECT_EQ(shard_of({gate, parameter("m.gate_proj.weight_scale", {768, 1}, DType::F32)}, kBlocks, 2, 1)->shape, (Shape{384, 1}));

  // kv heads fewer than tp: head 1 of 2 is rows 128 to 256, the second block
  const TpConfig two_heads{16, 2, 128, 128};
  const Parameter k = parameter("m.k_proj.weight", {256, 512}, DType::F8_E4M3);
  EXPECT_EQ(shard_of({k, parameter("m.k_proj.weight_scale_inv", {2, 4}, DType::F32)}, two_heads, 4, 2)->source_offset_bytes, 16u);
}

TEST(TpLayout, RefusesWhatDoesNotDivide) {
  const struct {
    std::vector<Parameter> parameters;
    TpConfig config;
    std::uint32_t tp;
    const char* why;
  } cases[] = {
      {{parameter("m.up_proj.weight", {10, 4})}, kQwen, 4, "dimension 0 of 10 does not divide"},
      {{parameter("m.down_proj.weight", {4, 10})}, kQwen, 4, "dimension 1 of 10 does not divide"},
      {{parameter("m.q_proj.weight", {96, 4})}, {6, 2, 0, 0}, 4, "6 heads do not divide"},
      {{parameter("m.k_proj.weight", {96, 4})}, {12, 6, 0, 0}, 4, "6 heads do not divide"},
      {{parameter("m.k_proj.weight", {97, 4})}, {8, 2, 0, 0}, 4, "97 rows are not whole rows of 2 heads"},
      {{parameter("m.v_proj.bias", {96})}, {}, 4, "num_key_value_heads"},
      {{parameter("lm_head.weight", {100, 4})}, kQwen, 3, "padded to 128"},
      {{parameter("m.up_proj.weight", {384, 4}, DType::F8_E4M3), parameter("m.up_proj.weight_scale_inv", {3, 1}, DType::F32)},
       kBlocks,
       2,
       "cut at 192 would lie inside a scale block of 128"},
      {{parameter("m.down_proj.weight", {4, 512}, DType::F8_E4M3), parameter("m.down_proj.weight_scale_inv", {1, 4}, DType::F32)},
       kBlocks,
       8,
       "cut at 64 would lie inside a scale block of 128"},
      {{parameter("m.up_proj.weight", {384, 4}, DType::F8_E4M3), parameter("m.up_proj.weight_scale_inv", {5, 1}, DType::F32)},
       kBlocks,
       2,
       "5 scales fit neither"},
  };
  for (const auto& [parameters, config, tp, why] : cases) {
    bool refused = false;
    for (std::uint32_t rank = 0; rank < tp; ++rank) {
      const Result<TensorShard> shard = shard_of(parameters, config, tp, rank);
      if (shard.ok()) continue;
      EXPECT_THAT(shard, Is(StatusCode::invalid_argument, AllOf(HasSubstr(parameters.back().name), HasSubstr(why), HasSubstr("--tp"))));
      refused = true;
      break;
    }
    EXPECT_TRUE(refused) << why;
  }
}

// The shards of all ranks, laid back by their runs, cover every byte of a tensor that is cut exactly once, and each replica's runs stay inside.
TEST(TpLayout, ShardsReassembleTheTensor) {
  const std::vector<Parameter> parameters{
      parameter("model.embed_tokens.weight", {1000, 24}),
      parameter("m.q_proj.weight", {256, 40}, DType::F32),
      parameter("m.q_proj.bias", {256}),
      parameter("m.k_proj.weight", {128, 40}, DType::F8_E4M3),
      parameter("m.o_proj.weight", {40, 256}, DType::F16),
      parameter("m.up_proj.weight", {1024, 40}, DType::F8_E4M3),
      parameter("m.up_proj.weight_scale_inv", {8, 1}, DType::F32),
      parameter("m.down_proj.weight", {40, 1024}, DType::F8_E4M3),
      parameter("m.down_proj.weight_scale_inv", {3, 8}, DType::F32),
      parameter("m.norm.weight", {40}),
  };
  const TpConfig config{16, 4, 128, 128};
  for (const std::uint32_t tp : {1u, 2u, 4u, 8u}) {
    std::vector<std::vector<int>> covered(parameters.size());
    for (std::size_t i = 0; i < parameters.size(); ++i) covered[i].resize(parameters[i].bytes);
    for (std::uint32_t rank = 0; rank < tp; ++rank) {
      const auto shards = make_tp_layout(parameters, config, tp, rank);
      ASSERT_OK(shards);
      for (std::size_t i = 0; i < parameters.size(); ++i) {
        const TensorShard& shard = (*shards)[i];
        EXPECT_EQ(shard.bytes(), *tensor_bytes(parameters[i].dtype, shard.shape)) << parameters[i].name;
        for (std::uint64_t run = 0; run < shard.num_runs; ++run)
          for (std::uint64_t b = 0; b < shard.run_bytes; ++b) ++covered[i].at(shard.source_offset_bytes + run * shard.stride_bytes + b);
      }
    }
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const bool kv_replica = parameters[i].name == "m.k_proj.weight" && tp > 4;
      const int times = parameters[i].name == "m.norm.weight" ? static_cast<int>(tp) : kv_replica ? static_cast<int>(tp / 4) : 1;
      EXPECT_EQ(std::count(covered[i].begin(), covered[i].end(), times), static_cast<std::ptrdiff_t>(parameters[i].bytes))
          << parameters[i].name << tp;
    }
  }
}

}  // namespace
}  // namespace ckpt
