// The reader on bytes made by hand; against Python's own pickler in tests/pickle.
#include "channel/pickle_reader.h"

#include "channel/peer_text.h"
#include "channel/pickle_text.h"
#include "channel/pickle_writer.h"
#include "channel/worker_answer.h"
#include "support/matchers.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using testing::Is;
using namespace std::string_literals;

std::string repr(std::string_view pickle) {
  const Result<PickleDocument> document = read_pickle(pickle);
  return document.ok() ? pickle_repr(*document) : document.status().message();
}

TEST(PickleReader, ReadsWhatTheWriterWrites) {
  EXPECT_EQ(repr(pickle_none()), "None");
  EXPECT_EQ(repr(pickle_abort("stop")), "builtins.RuntimeError(\"stop\")");
  const Parameter scalar{"s", DType::F32, {}, 4};
  const Parameter matrix{std::string(300, 'n'), DType::BF16, {1, 2, 3, 70000}, 840000};
  const PlacedTensor placed[] = {{&scalar, 0}, {&matrix, 5'000'000'000}};
  EXPECT_EQ(repr(pickle_bucket(placed)),
            "[{\"name\": \"s\", \"dtype\": torch.float32, \"shape\": torch.Size(()), \"offset\": 0}, "
            "{\"name\": \"" +
                std::string(300, 'n') + "\", \"dtype\": torch.bfloat16, \"shape\": torch.Size((1, 2, 3, 70000)), \"offset\": 5000000000}]");
  EXPECT_EQ(repr(pickle_bucket({})), "[]");
  std::string handle;
  for (int i = 0; i < 64; ++i) handle += "0a";
  EXPECT_EQ(repr(pickle_handle(std::string(64, '\n'), std::uint64_t{8} << 30)),
            "(torch.multiprocessing.reductions.rebuild_cuda_tensor, (torch.Tensor, torch.Size((8589934592,)), (1,), 0, torch.storage.TypedStorage, "
            "torch.uint8, 0, b\"" +
                handle + "\", 8589934592, 0, False, b\"\", 0, b\"\", False))");
}

TEST(PickleReader, ReadsMemosAndFrames) {
  // As Python writes [("a", -1), ("a", -1)] with one tuple in both places.
  EXPECT_EQ(repr("\x80\x04\x95\x12\0\0\0\0\0\0\0]\x94(\x8c\x01"
                 "a\x94J\xff\xff\xff\xff\x86\x94h\x02"
                 "e."s),
            "[(\"a\", -1), (\"a\", -1)]");
  // Protocol 2: BINPUT, and a list that is filled after it got its number.
  EXPECT_EQ(repr("\x80\x02(]q\0X\x01\0\0\0xq\x01"
                 "ah\0t."s),
            "([\"x\"], [\"x\"])");
  EXPECT_EQ(repr("\x80\x02]q\0(X\x01\0\0\0xq\x01h\x01"
                 "e."s),
            "[\"x\", \"x\"]");
}

TEST(PickleReader, RefusesEveryOtherOpcodeByNameAndPlace) {
  EXPECT_EQ(repr("\x80\x04N\x81."s), "the opcode NEWOBJ is refused at offset 3");
  EXPECT_EQ(repr("\x80\x02"
                 "cos\nsystem\n(X\x02\0\0\0lstR."s),
            "the name os.system is refused at offset 2");
  EXPECT_EQ(repr("\x80\x04\x8c\x08"
                 "builtins\x8c\x04"
                 "eval\x93."s),
            "the name builtins.eval is refused at offset 18");
  EXPECT_EQ(repr("\x80\x04)b."s), "the opcode BUILD is refused at offset 3");
  EXPECT_EQ(repr("\x80\x04\x07."s), "the opcode 0x07 is refused at offset 2");
  EXPECT_EQ(repr("\x80\x04\x8c\x05torch\x8c\x06Tensor\x93)R."s),
            "REDUCE of something that is neither an exception nor torch.Size of a tuple at offset 19");
  int num_taken = 0;
  for (int opcode = 0; opcode < 256; ++opcode) num_taken += repr("\x80\x04"s + static_cast<char>(opcode)).find("is refused") == std::string::npos;
  EXPECT_EQ(num_taken, 35);  // those of docs/format/channel.md
}

TEST(PickleReader, RefusesWhatDoesNotFit) {
  EXPECT_THAT(repr(""), HasSubstr("ends too early"));
  EXPECT_THAT(repr("N."), HasSubstr("does not start with PROTO"));
  EXPECT_THAT(repr("\x80\x06N."s), HasSubstr("protocol 6"));
  EXPECT_THAT(repr("\x80\x04N.."s), HasSubstr("1 bytes follow the end"));
  EXPECT_THAT(repr("\x80\x04NN."s), HasSubstr("values are left over"));
  EXPECT_THAT(repr("\x80\x04(N."s), HasSubstr("values are left over"));
  EXPECT_THAT(repr("\x80\x04N(\x85."s), HasSubstr("the stack is empty"));  // not below the mark
  EXPECT_THAT(repr("\x80\x04t."s), HasSubstr("no MARK"));
  EXPECT_THAT(repr("\x80\x04h\0."s), HasSubstr("a memo is not there"));
  EXPECT_THAT(repr("\x80\x04Nq\x05."s), HasSubstr("out of order"));
  EXPECT_THAT(repr("\x80\x04}Na."s), HasSubstr("no list or dict"));
  EXPECT_THAT(repr("\x80\x04}(Nu."s), HasSubstr("a key has no value"));
  EXPECT_THAT(repr("\x80\x04\x8c\x01\xff."s), HasSubstr("no UTF-8"));
  EXPECT_THAT(repr("\x80\x04\x8a\x09\0\0\0\0\0\0\0\0\1."s), HasSubstr("64 bits"));
  EXPECT_THAT(repr("\x80\x04X\xff\xff\xff\xffx."s), HasSubstr("ends too early"));
  EXPECT_THAT(repr("\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7fN."s), HasSubstr("a frame ends behind"));
  const std::string whole = pickle_handle(std::string(64, 'x'), 1 << 20);
  for (std::size_t size = 0; size < whole.size(); ++size) EXPECT_THAT(read_pickle(whole.substr(0, size)), Is(StatusCode::data_corruption)) << size;
}

TEST(PickleReader, BoundsDepthCirclesAndSize) {
  const std::string deep = "\x80\x04"s + std::string(31, ']') + std::string(30, 'a') + ".";
  EXPECT_EQ(repr(deep), std::string(31, '[') + std::string(31, ']'));
  EXPECT_THAT(repr("\x80\x04"s + std::string(40, ']') + std::string(39, 'a') + "."), HasSubstr("deeper than 32"));
  EXPECT_THAT(repr("\x80\x04]\x94h\0"
                   "a."s),
              HasSubstr("in a circle"));
  std::string laughs = "\x80\x04N\x94";  // each level holds the one below twice: 2^30 in all
  for (int i = 0; i < 30; ++i) laughs += "h"s + static_cast<char>(i) + "\x86\x94";
  EXPECT_LT(repr(laughs + ".").size(), 5000u);
  EXPECT_THAT(read_pickle("\x80\x04(NNNNt."s, {4}), Is(StatusCode::data_corruption, HasSubstr("more than 4 values")));
}

TEST(PickleReader, AnswersThatArePicklesAreToldInWords) {
  EXPECT_EQ(judge_answer("bucket 1", pickle_abort("CUDA out of memory")).message(),
            "bucket 1: the worker answered: RuntimeError: CUDA out of memory");
  // pickle.dumps(KeyError("w", 3), 4)
  EXPECT_EQ(judge_answer("bucket 1",
                         "\x80\x04\x95\x23\0\0\0\0\0\0\0\x8c\x08"
                         "builtins\x94\x8c\x08KeyError\x94\x93\x94\x8c\x01w\x94K\x03\x86\x94R\x94."s)
                .message(),
            "bucket 1: the worker answered: KeyError: (\"w\", 3)");
  EXPECT_THAT(judge_answer("handle",
                           "\x80\x02"
                           "cos\nsystem\n."s)
                  .message(),
              HasSubstr("a pickle that is not read (the name os.system is refused"));
  EXPECT_THAT(judge_answer("handle", pickle_none()).message(), HasSubstr("a pickle of None"));
  EXPECT_TRUE(is_utf8(judge_answer("handle", "\x80\xff\x1b").message()));
}

}  // namespace
}  // namespace ckpt
