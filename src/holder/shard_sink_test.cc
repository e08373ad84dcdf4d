#include "holder/shard_sink.h"

#include <cstring>

#include "holder/shard_copy.h"
#include "support/matchers.h"

namespace ckpt {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::Is;

Parameter tensor_named(std::string name, std::vector<std::uint64_t> shape, DType dtype = DType::BF16) {
  const auto bytes = tensor_bytes(dtype, shape);
  return {std::move(name), dtype, std::move(shape), *bytes};
}

HolderModel small_model() {
  return {{4, 2, 0, 0},
          {tensor_named("model.embed_tokens.weight", {70, 6}), tensor_named("m.o_proj.weight", {5, 700'000}, DType::U8),
           tensor_named("m.q_proj.weight", {8, 40'000}, DType::F32), tensor_named("m.norm.weight", {6}), tensor_named("m.empty", {0, 4}),
           tensor_named("m.scalar", {}, DType::F64)}};
}

// Bytes that differ from tensor to tensor and from place to place.
std::vector<Bytes> content_of(const HolderModel& model, unsigned seed) {
  std::vector<Bytes> content;
  for (const Parameter& parameter : model.parameters) {
    Bytes bytes(parameter.bytes);
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>((i * 2654435761u + seed + content.size() * 97) >> 7);
    content.push_back(std::move(bytes));
  }
  return content;
}

// A worker's staging side: what the real worker has, without the process.
struct Staging {
  explicit Staging(std::uint32_t rank = 1, unsigned threads = 3)
      : layout(*make_worker_layout(model, 2, rank)), arena(layout.arena_bytes), crew(threads), sink(model, index, layout, arena, crew) {}

  [[nodiscard]] ReceivedTensor tensor(std::size_t i) const { return {model.parameters[i], content[i]}; }

  const HolderModel model = small_model();
  const std::vector<Bytes> content = content_of(model, 7);
  const ParameterIndex index{model};
  const WorkerLayout layout;
  Bytes arena;
  CopyCrew crew;
  ShardSink sink;
};

TEST(ShardSink, KeepsTheShardOfEachTensorAndItsDigest) {
  for (const unsigned threads : {1u, 3u}) {
    Staging staging(1, threads);
    const std::vector<ReceivedTensor> first{staging.tensor(1), staging.tensor(2), staging.tensor(4), staging.tensor(5)};
    const std::vector<ReceivedTensor> second{staging.tensor(3), staging.tensor(0)};
    EXPECT_OK(staging.sink.apply(first));
    EXPECT_OK(staging.sink.apply({}));
    EXPECT_OK(staging.sink.apply(second));
    EXPECT_OK(staging.sink.prepare());
    EXPECT_EQ(staging.sink.report().bytes, staging.layout.weight_bytes());
    for (std::size_t i = 0; i < staging.model.parameters.size(); ++i) {
      const PlacedShard& placed = staging.layout.shards[i];
      Bytes expected;  // cut the slow way
      for (std::uint64_t run = 0; run < placed.shard.num_runs; ++run) {
        const auto* begin = staging.content[i].data() + placed.shard.source_offset_bytes + run * placed.shard.stride_bytes;
        expected.insert(expected.end(), begin, begin + placed.shard.run_bytes);
      }
      EXPECT_EQ(expected, Bytes(staging.arena.begin() + placed.offset_bytes, staging.arena.begin() + placed.offset_bytes + placed.shard.bytes()));
      std::uint64_t digest = 0;
      std::memcpy(&digest, staging.arena.data() + staging.layout.digests_offset_bytes + 8 * i, sizeof digest);
      EXPECT_EQ(digest, digest_of(expected)) << staging.model.parameters[i].name;
    }
  }
}

TEST(ShardSink, ShardsOfTheModelAreWhatTheLayoutSays) {
  const Staging staging;
  EXPECT_EQ(staging.layout.shards[0].shard.shape, (std::vector<std::uint64_t>{6, 6}));  // rows 64 to 70
  EXPECT_EQ(staging.layout.shards[1].shard.shape, (std::vector<std::uint64_t>{5, 350'000}));
  for (const PlacedShard& placed : staging.layout.shards) EXPECT_EQ(placed.offset_bytes % 256, 0u);
  EXPECT_EQ(staging.layout.arena_bytes % 4096, 0u);
}

TEST(ShardSink, RefusesStrangersAndLeavesTheArenaAlone) {
  Staging staging;
  const Bytes before = staging.arena;
  const Parameter unknown = tensor_named("m.k_proj.weight", {2});
  Parameter reshaped = staging.model.parameters[2];
  reshaped.shape = {40'000, 8};
  Parameter retyped = staging.model.parameters[3];
  retyped.dtype = DType::F16;
  const Bytes two(4);
  EXPECT_THAT(staging.sink.apply({{staging.tensor(3), ReceivedTensor{unknown, two}}}),
              Is(StatusCode::invalid_argument, AllOf(HasSubstr("m.k_proj.weight"), HasSubstr("not in this engine's model"))));
  EXPECT_EQ(staging.arena, before);
  EXPECT_FALSE(staging.sink.report().touched_arena);
  EXPECT_THAT(staging.sink.apply({{ReceivedTensor{reshaped, staging.content[2]}}}),
              Is(StatusCode::invalid_argument, HasSubstr("is F32 [40000, 8], in this engine's model F32 [8, 40000]")));
  EXPECT_THAT(staging.sink.apply({{ReceivedTensor{retyped, staging.content[3]}}}), Is(StatusCode::invalid_argument, HasSubstr("is F16 [6]")));
  EXPECT_THAT(staging.sink.apply({{ReceivedTensor{staging.model.parameters[0], two}}}), Is(StatusCode::data_corruption, HasSubstr("840 belong")));
  EXPECT_EQ(staging.arena, before);
}

TEST(ShardSink, EachTensorComesExactlyOnce) {
  Staging twice;
  EXPECT_THAT(twice.sink.apply({{twice.tensor(3), twice.tensor(3)}}), Is(StatusCode::invalid_argument, HasSubstr("m.norm.weight came twice")));

  Staging missing;
  for (const std::size_t i : {0u, 2u, 3u, 5u}) EXPECT_OK(missing.sink.apply({{missing.tensor(i)}}));
  EXPECT_THAT(missing.sink.prepare(),
              Is(StatusCode::invalid_argument, AllOf(HasSubstr("2 of the model's 6 tensors never came"), HasSubstr("m.o_proj.weight"))));
  EXPECT_OK(missing.sink.apply({{missing.tensor(1), missing.tensor(4)}}));
  EXPECT_OK(missing.sink.prepare());
}

TEST(HolderModel, SurvivesTheHandOver) {
  const HolderModel model = small_model();
  const Result<HolderModel> copy = decode_model(encode_model(model));
  ASSERT_OK(copy);
  EXPECT_EQ(copy->parameters, model.parameters);
  EXPECT_EQ(copy->config, model.config);
  const Bytes encoded = encode_model(model);
  EXPECT_THAT(decode_model(Bytes(encoded.begin(), encoded.end() - 3)), Is(StatusCode::internal));
}

}  // namespace
}  // namespace ckpt
