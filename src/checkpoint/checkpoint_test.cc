#include "checkpoint/checkpoint.h"

#include <sys/stat.h>

#include <cstring>
#include <filesystem>

#include "support/matchers.h"
#include "support/temporary_directory.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using testing::Is;
using testing::TemporaryDirectory;

std::string safetensors(std::string_view json, std::size_t data_bytes) {
  const std::uint64_t length = json.size();
  std::string file(reinterpret_cast<const char*>(&length), sizeof length);
  file += json;
  return file + std::string(data_bytes, 'x');
}

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

struct Broken {
  const char* name;
  std::string content;
  StatusCode code;
  const char* text;
};

std::string one(const char* entry) { return std::string(R"({"t":{)") + entry + "}}"; }

std::vector<Broken> broken_files() {
  const auto corrupt = StatusCode::data_corruption;
  std::string long_header = safetensors("{}", 0);
  const std::uint64_t too_long = 100'000'001;
  std::memcpy(long_header.data(), &too_long, sizeof too_long);
  std::string cut = safetensors(one(R"("dtype":"U8","shape":[4],"data_offsets":[0,4])"), 4);
  std::string overlong = cut;
  const std::uint64_t beyond = 5000;
  std::memcpy(overlong.data(), &beyond, sizeof beyond);
  return {
      {"Empty", "", corrupt, "too few"},
      {"SevenBytes", "1234567", corrupt, "too few"},
      {"HeaderLongerThanTheLimit", long_header, StatusCode::resource_exhausted, "longer than 100000000"},
      {"HeaderLongerThanTheFile", overlong, corrupt, "the file is cut"},
      {"CutData", cut.substr(0, cut.size() - 1), corrupt, "tensor t: data_offsets [0, 4] reach beyond the 3 bytes"},
      {"TrailingData", cut + "x", corrupt, "the tensors end at 4 and the data at 5"},
      {"NoObject", safetensors("[]", 0), corrupt, "does not start with {"},
      {"NoJson", safetensors("{\"t\":", 0), corrupt, "no valid JSON"},
      {"SomethingAfterTheObject", safetensors("{} {}", 0), corrupt, "no valid JSON"},
      {"NestedWithoutEnd", safetensors("{\"t\":" + std::string(100000, '['), 0), corrupt, "no valid JSON"},
      {"NameThatIsNotUtf8", safetensors("{\"\xff\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0), corrupt, "no valid JSON"},
      {"EntryIsNoObject", safetensors(R"({"t":7})", 0), corrupt, "tensor t: its entry is no object"},
      {"MissingField", safetensors(one(R"("dtype":"U8","shape":[0])"), 0), corrupt, "are needed"},
      {"UnknownField", safetensors(one(R"("dtype":"U8","shape":[0],"data_offsets":[0,0],"x":1)"), 0), corrupt, "unknown field x"},
      {"FieldTwice", safetensors(one(R"("dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0])"), 0), corrupt, "dtype stands twice"},
      {"NameTwice", safetensors(R"({"t":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"t":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})", 0),
       corrupt, "tensor t: stands twice"},
      {"UnknownDtype", safetensors(one(R"("dtype":"U9","shape":[0],"data_offsets":[0,0])"), 0), corrupt, "unknown dtype U9"},
      {"NegativeDimension", safetensors(one(R"("dtype":"U8","shape":[-1],"data_offsets":[0,0])"), 0), corrupt, "shape holds something"},
      {"FractionalDimension", safetensors(one(R"("dtype":"U8","shape":[1.5],"data_offsets":[0,0])"), 0), corrupt, "shape holds something"},
      {"OverflowingShape", safetensors(one(R"("dtype":"F64","shape":[4294967296,4294967296],"data_offsets":[0,0])"), 0), corrupt, "overflows"},
      {"HugeOffsets", safetensors(one(R"("dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,18446744073709551615])"), 0), corrupt,
       "reach beyond"},
      {"BackwardOffsets", safetensors(one(R"("dtype":"U8","shape":[4],"data_offsets":[4,0])"), 4), corrupt, "run backwards"},
      {"OneOffset", safetensors(one(R"("dtype":"U8","shape":[4],"data_offsets":[4])"), 4), corrupt, "must be [begin, end]"},
      {"ThreeOffsets", safetensors(one(R"("dtype":"U8","shape":[4],"data_offsets":[0,4,8])"), 4), corrupt, "more than 2"},
      {"WrongSize", safetensors(one(R"("dtype":"BF16","shape":[3],"data_offsets":[0,4])"), 4), corrupt, "needs 6 bytes and data_offsets give 4"},
      {"HalfAByte", safetensors(one(R"("dtype":"F4","shape":[3],"data_offsets":[0,1])"), 1), corrupt, "no whole number of bytes"},
      {"Overlap", safetensors(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})", 6),
       corrupt, "tensor b: starts at 2 and overlaps"},
      {"Hole", safetensors(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[1],"data_offsets":[5,6]}})", 6),
       corrupt, "leaves a hole"},
      {"MetadataIsNoText", safetensors(R"({"__metadata__":{"a":1}})", 0), corrupt, "__metadata__: a is no text"},
  };
}

TEST(Checkpoint, BrokenFilesAreRefusedByNameAndReason) {
  for (const Broken& broken : broken_files()) {
    SCOPED_TRACE(broken.name);
    const TemporaryDirectory dir;
    dir.write("model.safetensors", broken.content);
    const auto result = open_checkpoint(dir.path());
    EXPECT_THAT(result, Is(broken.code, HasSubstr(broken.text)));
    EXPECT_THAT(result, Is(broken.code, HasSubstr("model.safetensors")));
  }
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
