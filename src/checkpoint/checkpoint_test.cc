#include "checkpoint/checkpoint.h"

#include <sys/stat.h>

#include <filesystem>

#include "base/fault_point.h"
#include "support/matchers.h"
#include "support/safetensors_text.h"
#include "support/temporary_directory.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using testing::Is;
using testing::one;
using testing::repeated;
using testing::safetensors;
using testing::TemporaryDirectory;

TEST(Checkpoint, OneFileWithEveryKindOfTensor) {
  const TemporaryDirectory dir;
  dir.write("model.safetensors",
            safetensors(R"({"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},)"
                        R"("a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"none":{"dtype":"I64","shape":[0,7],"data_offsets":[16,16]},)"
                        R"("f8":{"dtype":"F8_E4M3","shape":[3],"data_offsets":[16,19]},"flag":{"dtype":"BOOL","shape":[1],"data_offsets":[19,20]}})",
                        20));
  const auto checkpoint = open_checkpoint(dir.path() + "/");
  ASSERT_OK(checkpoint);
  ASSERT_EQ(checkpoint->parameters.size(), 5u);
  EXPECT_EQ(checkpoint->parameters[0].name, "a");
  EXPECT_EQ(checkpoint->parameters[1], (Parameter{"b", DType::BF16, {2, 3}, 12}));
  EXPECT_EQ(checkpoint->parameters[2].name, "none");
  EXPECT_EQ(checkpoint->files[0].metadata.at("format"), "pt");
  EXPECT_EQ(checkpoint->locations[1].offset_bytes, checkpoint->files[0].bytes - 16);
  EXPECT_EQ(checkpoint->total_bytes(), 20u);
  EXPECT_OK(check_engines_take(*checkpoint));
}

TEST(Checkpoint, SubByteAndComplexTensorsAreReadAndEnginesRefuseThem) {
  const TemporaryDirectory dir;
  dir.write("model.safetensors",
            safetensors(R"({"q":{"dtype":"F4","shape":[4],"data_offsets":[0,2]},"c":{"dtype":"C64","shape":[1],"data_offsets":[2,10]}})", 10));
  const auto checkpoint = open_checkpoint(dir.path());
  ASSERT_OK(checkpoint);
  EXPECT_THAT(check_engines_take(*checkpoint), Is(StatusCode::invalid_argument, HasSubstr("tensor q is F4, which engines cannot take")));
}

TEST(Checkpoint, HeadersOfTensOfMegabytesAreRead) {
  std::string json = "{";
  for (int i = 0; i < 100'000; ++i)
    json += fmt::format(R"({}"layer.{}.{}":{{"dtype":"U8","shape":[1],"data_offsets":[{},{}]}})", i > 0 ? "," : "", i, repeated("x", 150), i, i + 1);
  const TemporaryDirectory dir;
  dir.write("model.safetensors", safetensors(json + "}", 100'000));
  const auto checkpoint = open_checkpoint(dir.path());
  ASSERT_OK(checkpoint);
  EXPECT_GT(checkpoint->locations[0].offset_bytes, 20'000'000u);
  EXPECT_EQ(checkpoint->parameters.size(), 100'000u);
}

TEST(Checkpoint, NullMetadataIsNoMetadata) {
  const TemporaryDirectory dir;
  dir.write("model.safetensors", safetensors(R"({"__metadata__":null})", 0));
  EXPECT_OK(open_checkpoint(dir.path()));
}

TEST(Checkpoint, EveryProblemIsFoundByASurveyAndTheFirstIsTheOneOfOpening) {
  const TemporaryDirectory dir;
  dir.write("a.safetensors", "short");
  dir.write("b.safetensors",
            safetensors(R"({"x":7,"t":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"y":{"dtype":"Q","shape":[],"data_offsets":[4,5]}})", 5));
  dir.write("c.safetensors", safetensors(one(R"("dtype":"U8","shape":[4],"data_offsets":[0,4])"), 4));
  const CheckpointSurvey survey = survey_checkpoint(dir.path(), 10);
  ASSERT_EQ(survey.problems.size(), 4u);
  EXPECT_EQ(survey.problems[0], open_checkpoint(dir.path()).status());
  EXPECT_THAT(survey.problems[1].message(), HasSubstr("tensor x"));
  EXPECT_THAT(survey.problems[2].message(), HasSubstr("tensor y: unknown dtype Q"));
  EXPECT_THAT(survey.problems[3].message(), HasSubstr("tensor t is also in"));
  EXPECT_EQ(survey.checkpoint.files.size(), 3u);
  EXPECT_EQ(survey_checkpoint(dir.path(), 2).problems.size(), 2u);
}

class ShardedCheckpoint : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_.write("s1.safetensors", safetensors(one(R"("dtype":"U8","shape":[4],"data_offsets":[0,4])"), 4));
    dir_.write("s2.safetensors", safetensors(R"({"u":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 2));
  }
  Result<Checkpoint> with_index(std::string_view index) {
    dir_.write("model.safetensors.index.json", index);
    return open_checkpoint(dir_.path());
  }
  TemporaryDirectory dir_;
};

TEST_F(ShardedCheckpoint, ShardsAreReadInTheOrderOfTheirNames) {
  const auto checkpoint = with_index(R"({"metadata":{"total_size":6},"weight_map":{"u":"s2.safetensors","t":"s1.safetensors"}})");
  ASSERT_OK(checkpoint);
  EXPECT_EQ(checkpoint->parameters[0].name, "t");
  EXPECT_EQ(checkpoint->parameters[1].name, "u");
  EXPECT_EQ(checkpoint->locations[1].file, 1u);
}

TEST_F(ShardedCheckpoint, IndexThatDoesNotFitIsRefused) {
  const auto corrupt = StatusCode::data_corruption;
  EXPECT_THAT(with_index("[]"), Is(corrupt, HasSubstr("no JSON object")));
  EXPECT_THAT(with_index("{"), Is(corrupt, HasSubstr("no valid JSON")));
  EXPECT_THAT(with_index("{}"), Is(corrupt, HasSubstr("no weight_map")));
  EXPECT_THAT(with_index(R"({"weight_map":[]})"), Is(corrupt, HasSubstr("weight_map is no object")));
  EXPECT_THAT(with_index(R"({"weight_map":{"t":1}})"), Is(corrupt, HasSubstr("the file of tensor t is no text")));
  EXPECT_THAT(with_index(R"({"weight_map":{"t":"s1.safetensors","t":"s2.safetensors"}})"), Is(corrupt, HasSubstr("tensor t stands twice")));
  EXPECT_THAT(with_index(R"({"weight_map":{"t":"s1.safetensors","v":"s1.safetensors"}})"),
              Is(corrupt, HasSubstr("names tensor v, which the file does not have")));
  EXPECT_THAT(with_index(R"({"weight_map":{"t":"s2.safetensors","u":"s2.safetensors"}})"),
              Is(corrupt, HasSubstr("names tensor t, which the file does not have")));
  EXPECT_THAT(with_index(R"({"weight_map":{"x":"s1.safetensors","u":"s2.safetensors"}})"),
              Is(corrupt, HasSubstr("tensor t has no entry in the index")));
  EXPECT_THAT(with_index(R"({"weight_map":{"t":"s1.safetensors","u":"s3.safetensors"}})"), Is(StatusCode::not_found, HasSubstr("s3.safetensors")));
  for (const char* path : {"../x.safetensors", "/etc/passwd", "a/../../x", "./s1.safetensors", ""})
    EXPECT_THAT(with_index(fmt::format(R"({{"weight_map":{{"t":"{}"}}}})", path)),
                Is(StatusCode::invalid_argument, HasSubstr("outside the directory")))
        << path;
}

TEST_F(ShardedCheckpoint, ANameInTwoShardsIsRefused) {
  dir_.write("s2.safetensors", safetensors(one(R"("dtype":"U8","shape":[4],"data_offsets":[0,4])"), 4));
  EXPECT_THAT(open_checkpoint(dir_.path()), Is(StatusCode::data_corruption, HasSubstr("tensor t is also in")));
}

TEST_F(ShardedCheckpoint, ShardsThatAreNoFilesAreRefused) {
  const char* index = R"({"weight_map":{"t":"s1.safetensors","u":"s2.safetensors"}})";
  std::filesystem::remove(dir_ / "s2.safetensors");
  std::filesystem::create_directory(dir_ / "s2.safetensors");
  EXPECT_THAT(with_index(index), Is(StatusCode::failed_precondition, HasSubstr("is a folder")));
  std::filesystem::remove(dir_ / "s2.safetensors");
  ASSERT_EQ(::mkfifo((dir_ / "s2.safetensors").c_str(), 0600), 0);
  EXPECT_THAT(with_index(index), Is(StatusCode::failed_precondition, HasSubstr("is no regular file")));
  std::filesystem::remove(dir_ / "s2.safetensors");
  std::filesystem::create_symlink(dir_ / "nowhere", dir_ / "s2.safetensors");
  EXPECT_THAT(with_index(index), Is(StatusCode::not_found, HasSubstr("s2.safetensors")));
}

TEST_F(ShardedCheckpoint, ADanglingLinkSaysWhereItLeads) {
  const char* index = R"({"weight_map":{"t":"s1.safetensors","u":"s2.safetensors"}})";
  std::filesystem::remove(dir_ / "s2.safetensors");
  std::filesystem::create_symlink("../../blobs/0123", dir_ / "s2.safetensors");
  EXPECT_THAT(with_index(index), Is(StatusCode::not_found, HasSubstr("leads nowhere (to ../../blobs/0123)")));
  EXPECT_THAT(with_index(index), Is(StatusCode::not_found, HasSubstr("tensor u of the index has no file")));
}

TEST_F(ShardedCheckpoint, AnIndexThatIsNoFileIsRefusedAndNotPassedOver) {
  const std::string path = dir_ / "model.safetensors.index.json";
  std::filesystem::create_symlink("nowhere", path);
  EXPECT_THAT(open_checkpoint(dir_.path()), Is(StatusCode::not_found, HasSubstr("index.json")));
  std::filesystem::remove(path);
  std::filesystem::create_directory(path);
  EXPECT_THAT(open_checkpoint(dir_.path()), Is(StatusCode::failed_precondition, HasSubstr("is a folder")));
  std::filesystem::remove(path);
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  EXPECT_THAT(open_checkpoint(dir_.path()), Is(StatusCode::failed_precondition, HasSubstr("is no regular file")));
  std::filesystem::remove(path);
  dir_.write("model.safetensors.index.json", "{");
  std::filesystem::resize_file(path, 200'000'000);
  EXPECT_THAT(open_checkpoint(dir_.path()), Is(StatusCode::resource_exhausted, HasSubstr("an index of 200000000 bytes is longer")));
}

TEST_F(ShardedCheckpoint, OnlyWhatTheIndexNamesIsRead) {
  dir_.write("consolidated.safetensors", "broken");
  EXPECT_OK(with_index(R"({"weight_map":{"t":"s1.safetensors","u":"s2.safetensors"}})"));
}

TEST_F(ShardedCheckpoint, WithoutAnIndexHiddenAndOtherFilesAreLeftOut) {
  dir_.write("._s1.safetensors", "broken");
  dir_.write("s1.safetensors.bak", "broken");
  dir_.write("pytorch_model.bin", "broken");
  EXPECT_EQ(open_checkpoint(dir_.path())->files.size(), 2u);
}

TEST_F(ShardedCheckpoint, ShardsMayLieInFolders) {
  std::filesystem::create_directory(dir_ / "part");
  std::filesystem::rename(dir_ / "s2.safetensors", dir_ / "part/s2.safetensors");
  EXPECT_OK(with_index(R"({"weight_map":{"t":"s1.safetensors","u":"part/s2.safetensors"}})"));
}

TEST_F(ShardedCheckpoint, TheCacheOfHuggingFaceIsRead) {
  const std::filesystem::path root = dir_ / "models--org--name";
  std::filesystem::create_directories(root / "blobs");
  std::filesystem::create_directories(root / "snapshots/abc");
  ASSERT_OK(with_index(R"({"weight_map":{"t":"s1.safetensors","u":"s2.safetensors"}})"));
  for (const char* name : {"s1.safetensors", "s2.safetensors", "model.safetensors.index.json"}) {
    std::filesystem::rename(dir_ / name, root / "blobs" / std::to_string(std::hash<std::string>{}(name)));
    std::filesystem::create_symlink("../../blobs/" + std::to_string(std::hash<std::string>{}(name)), root / "snapshots/abc" / name);
  }
  std::filesystem::create_directory_symlink("models--org--name/snapshots/abc", dir_ / "current");
  for (const std::string& path : {(root / "snapshots/abc").string(), dir_ / "current"}) {
    const auto checkpoint = open_checkpoint(path);
    ASSERT_OK(checkpoint);
    EXPECT_EQ(checkpoint->parameters.size(), 2u);
  }
}

#ifdef CKPT_FAULT_POINTS
TEST_F(ShardedCheckpoint, AnyFailingSystemCallEndsWithItsError) {
  ASSERT_OK(with_index(R"({"weight_map":{"t":"s1.safetensors","u":"s2.safetensors"}})"));
  int num_failures = 0;
  for (bool failed = true; failed; ++num_failures) {
    ASSERT_OK(set_fault_rules(fmt::format("*:{}:error", num_failures + 1)));
    failed = !open_checkpoint(dir_.path()).ok();
    ASSERT_OK(set_fault_rules(""));
    ASSERT_LT(num_failures, 100);
  }
  EXPECT_GT(num_failures, 5);
}
#endif

TEST_F(ShardedCheckpoint, LinksIntoABlobFolderAreFollowed) {
  std::filesystem::create_directory(dir_ / "snapshot");
  std::filesystem::create_symlink("../s1.safetensors", dir_ / "snapshot/model.safetensors");
  EXPECT_OK(open_checkpoint(dir_ / "snapshot"));
}

TEST(Checkpoint, PathsThatAreNoDirectoryAreRefused) {
  const TemporaryDirectory dir;
  EXPECT_THAT(open_checkpoint(dir / "none"), Is(StatusCode::not_found));
  EXPECT_THAT(open_checkpoint(dir.write("file", "x")), Is(StatusCode::invalid_argument, HasSubstr("is no directory")));
  EXPECT_THAT(open_checkpoint(dir.path()), Is(StatusCode::not_found, HasSubstr("holds no safetensors file")));
}

}  // namespace
}  // namespace ckpt
