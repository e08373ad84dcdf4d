#include "checkpoint/writer.h"

#include <cstring>
#include <filesystem>
#include <set>

#include "checkpoint/checkpoint.h"
#include "os/file.h"
#include "support/temporary_directory.h"
#include "support/tiny_checkpoint.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using testing::Is;
using testing::TemporaryDirectory;
using testing::tiny_content;
using testing::write_tiny_checkpoint;

Bytes bytes_of(const Checkpoint& checkpoint, std::size_t index) {
  const auto file = File::open_for_reading(checkpoint.files[checkpoint.locations[index].file].path);
  Bytes bytes(checkpoint.parameters[index].bytes);
  EXPECT_OK(file->read_all(checkpoint.locations[index].offset_bytes, bytes));
  return bytes;
}

TEST(Writer, WhatIsWrittenOpensAgainInAnyNumberOfShards) {
  for (const std::string_view shape : {"tiny-qwen3", "tiny-qwen3-moe", "tiny-deepseek-fp8"})
    for (const std::uint32_t num_shards : {1u, 3u}) {
      SCOPED_TRACE(fmt::format("{} in {}", shape, num_shards));
      const TemporaryDirectory dir;
      const std::vector<Parameter> parameters = write_tiny_checkpoint(dir.path(), shape, 7, num_shards);
      const auto checkpoint = open_checkpoint(dir.path());
      ASSERT_OK(checkpoint);
      EXPECT_EQ(checkpoint->files.size(), num_shards);
      ASSERT_EQ(checkpoint->parameters.size(), parameters.size());
      for (std::size_t i = 0; i < checkpoint->parameters.size(); ++i)
        ASSERT_EQ(bytes_of(*checkpoint, i), tiny_content(checkpoint->parameters[i], 7)) << checkpoint->parameters[i].name;
      EXPECT_OK(check_engines_take(*checkpoint));
    }
}

TEST(Writer, ContentDependsOnSeedAndNameAndNotOnPieces) {
  const Parameter a{"a", DType::U8, {1003}, 1003};
  const Parameter b{"b", DType::U8, {1003}, 1003};
  EXPECT_EQ(tiny_content(a, 1), tiny_content(a, 1));
  EXPECT_NE(tiny_content(a, 1), tiny_content(a, 2));
  EXPECT_NE(tiny_content(a, 1), tiny_content(b, 1));
  Bytes pieces(1003);
  fill_content(a, 1, 0, std::span(pieces).first(512));
  fill_content(a, 1, 512, std::span(pieces).subspan(512));
  EXPECT_EQ(pieces, tiny_content(a, 1));
}

TEST(Writer, FloatsAreFiniteAndBooleansAreBits) {
  const Bytes floats = tiny_content({"f", DType::F32, {1000}, 4000}, 3);
  for (std::size_t i = 0; i < floats.size(); i += 4) {
    float value = 0;
    std::memcpy(&value, &floats[i], sizeof value);
    ASSERT_TRUE(value > -2 && value < 2) << value;
  }
  for (const std::byte value : tiny_content({"flag", DType::BOOL, {100}, 100}, 3)) ASSERT_LE(std::to_integer<int>(value), 1);
}

TEST(Writer, OddSizesEmptyTensorsAndLongNamesSurvive) {
  const TemporaryDirectory dir;
  const std::vector<Parameter> parameters{{"odd", DType::U8, {1048577}, 1048577},
                                          {"empty", DType::F32, {0, 4}, 0},
                                          {"scalar", DType::F64, {}, 8},
                                          {"quote\" \\ Grüße\n", DType::BOOL, {3}, 3},
                                          {std::string(5000, 'n'), DType::F8_E4M3, {5, 7}, 35}};
  ASSERT_OK(write_checkpoint(dir.path(), parameters, {.seed = 1, .num_shards = 1, .metadata = {{"k\"", "v\n"}}}));
  const auto checkpoint = open_checkpoint(dir.path());
  ASSERT_OK(checkpoint);
  EXPECT_EQ(checkpoint->files[0].metadata.at("k\""), "v\n");
  for (std::size_t i = 0; i < parameters.size(); ++i)
    EXPECT_EQ(bytes_of(*checkpoint, i), tiny_content(checkpoint->parameters[i], 1)) << checkpoint->parameters[i].name;
}

TEST(Writer, MoreShardsThanTensorsGiveOneEach) {
  const TemporaryDirectory dir;
  const std::vector<Parameter> parameters{{"a", DType::U8, {4}, 4}, {"b", DType::U8, {4}, 4}};
  ASSERT_OK(write_checkpoint(dir.path(), parameters, {.seed = 1, .num_shards = 9, .metadata = {}}));
  EXPECT_EQ(open_checkpoint(dir.path())->files.size(), 2u);
}

TEST(Writer, AnotherCheckpointInTheDirectoryIsRefusedAndTheSameReplaced) {
  const TemporaryDirectory dir;
  write_tiny_checkpoint(dir.path(), "tiny-qwen3", 1, 2);
  write_tiny_checkpoint(dir.path(), "tiny-qwen3", 2, 2);
  const std::vector<Parameter> parameters{{"a", DType::U8, {4}, 4}};
  EXPECT_THAT(write_checkpoint(dir.path(), parameters, {}), Is(StatusCode::already_exists, HasSubstr("of another checkpoint")));
}

TEST(Writer, AFailureLeavesNothing) {
  const TemporaryDirectory dir;
  const std::vector<Parameter> parameters{{"bad \xff", DType::U8, {4}, 4}};
  EXPECT_THAT(write_checkpoint(dir.path(), parameters, {}), Is(StatusCode::invalid_argument, HasSubstr("is no UTF-8")));
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
  {
    auto file = OutputFile::create(dir / "half");
    ASSERT_OK(file);
    EXPECT_OK(file->write(std::as_bytes(std::span("abc"))));
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

TEST(Synthetic, EveryShapeFitsTheSizesOfTestsAndDemo) {
  for (const std::string_view shape : synthetic_shapes())
    for (const std::uint64_t max_bytes : {1'200'000'000u, 500'000'000u}) {
      const auto model = make_synthetic_model(shape, max_bytes);
      ASSERT_OK(model);
      std::uint64_t total = 0;
      std::set<std::string> names;
      for (const Parameter& parameter : model->parameters) {
        total += parameter.bytes;
        EXPECT_TRUE(names.insert(parameter.name).second) << parameter.name;
      }
      EXPECT_LE(total, max_bytes) << shape;
      const std::uint64_t least = shape.starts_with("tiny") ? 0 : max_bytes / 5 * 3;
      EXPECT_GE(total, least) << shape;
    }
}

TEST(Synthetic, ASizeThatCannotBeReachedIsRefused) {
  EXPECT_THAT(make_synthetic_model("deepseek-fp8", 1000), Is(StatusCode::invalid_argument, HasSubstr("needs at least")));
  EXPECT_THAT(make_synthetic_model("gpt", 1000), Is(StatusCode::invalid_argument, HasSubstr("tiny-qwen3-moe")));
}

}  // namespace
}  // namespace ckpt
