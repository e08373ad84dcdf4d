// Every way in which one safetensors file can be wrong, with the error that it must give.
#include <cstring>

#include "checkpoint/checkpoint.h"
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

struct Broken {
  const char* name;
  std::string content;
  StatusCode code;
  const char* text;
};

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
      {"EmptyTensorInsideAnother",
       safetensors(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"e":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}})", 4), corrupt,
       "tensor e: starts at 2 and overlaps"},
      {"EmptyTensorBehindTheEnd", safetensors(one(R"("dtype":"U8","shape":[0],"data_offsets":[5,5])"), 4), corrupt, "reach beyond the 4 bytes"},
      {"TheSameBytesTwice",
       safetensors(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4), corrupt,
       "tensor b: starts at 0 and overlaps"},
      {"HoleAtTheStart", safetensors(one(R"("dtype":"U8","shape":[3],"data_offsets":[1,4])"), 4), corrupt, "starts at 1 and leaves a hole after 0"},
      {"DataWithoutTensors", safetensors("{}", 4), corrupt, "the tensors end at 0 and the data at 4"},
      {"OverflowBeforeAZero", safetensors(one(R"("dtype":"U8","shape":[4294967296,4294967296,0],"data_offsets":[0,0])"), 0), corrupt, "overflows"},
      {"BitsOverflow", safetensors(one(R"("dtype":"U64","shape":[4611686018427387904],"data_offsets":[0,0])"), 0), corrupt, "overflows"},
      {"NumberBeyond64Bits", safetensors(one(R"("dtype":"U8","shape":[18446744073709551616],"data_offsets":[0,0])"), 0), corrupt, "no valid JSON"},
      {"TooManyDimensions", safetensors(one((R"("dtype":"U8","data_offsets":[0,1],"shape":[1)" + repeated(",1", 64) + "]").c_str()), 1), corrupt,
       "shape has more than 64 entries"},
      {"ShapeIsNoList", safetensors(one(R"("dtype":"U8","shape":4,"data_offsets":[0,4])"), 4), corrupt, "shape is no list"},
      {"DtypeIsNoText", safetensors(one(R"("dtype":1,"shape":[4],"data_offsets":[0,4])"), 4), corrupt, "dtype is no text"},
      {"EntryIsNull", safetensors(R"({"t":null})", 0), corrupt, "tensor t: its entry is no object"},
      {"HeaderOfNoBytes", safetensors("", 0), corrupt, "does not start with {"},
      {"SpacesBeforeTheObject", safetensors("  {}", 0), corrupt, "does not start with {"},
      {"ByteOrderMark", safetensors("\xef\xbb\xbf{}", 0), corrupt, "does not start with {"},
      {"LoneSurrogate", safetensors(R"({"\ud800":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})", 0), corrupt, "no valid JSON"},
      {"OverlongUtf8", safetensors("{\"\xc0\xaf\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0), corrupt, "no valid JSON"},
      {"RawNewlineInAName", safetensors("{\"\n\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0), corrupt, "no valid JSON"},
      {"NestedObjects", safetensors(repeated("{\"a\":", 100000), 0), corrupt, "no valid JSON"},
      {"ZerosAfterTheObject", safetensors(std::string("{}\0\0", 4), 0), corrupt, "no valid JSON"},
      {"EscapeSequenceInAName", safetensors(R"({"\u001b[2J":7})", 0), corrupt, "tensor \\x1b[2J: its entry"},
      {"LongName", safetensors("{\"" + std::string(70000, 'n') + "\":{}}", 0), corrupt, "a name of 70000 bytes is longer than"},
      {"MetadataTwice", safetensors(R"({"__metadata__":{},"__metadata__":{}})", 0), corrupt, "__metadata__: stands twice"},
      {"MetadataKeyTwice", safetensors(R"({"__metadata__":{"a":"1","a":"2"}})", 0), corrupt, "__metadata__: a stands twice"},
      {"MetadataIsAList", safetensors(R"({"__metadata__":[]})", 0), corrupt, "__metadata__ is no object"},
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

}  // namespace
}  // namespace ckpt
