#include "channel/dialect_memory.h"

#include <fcntl.h>
#include <sys/file.h>

#include <filesystem>

#include "support/matchers.h"
#include "support/temporary_directory.h"

namespace ckpt {
namespace {

class DialectMemory : public ::testing::Test {
 protected:
  [[nodiscard]] std::string text() const {
    std::ifstream in(file_);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  testing::TemporaryDirectory dir_;
  const std::string file_ = dir_ / "dialects";
};

TEST_F(DialectMemory, EachEngineHasItsOwn) {
  EXPECT_EQ(recall_dialect(file_, "vllm http://a:1"), Dialect::automatic);
  remember_dialect(file_, "vllm http://a:1", Dialect::one);
  remember_dialect(file_, "sglang http://a:1", Dialect::two);
  EXPECT_EQ(recall_dialect(file_, "vllm http://a:1"), Dialect::one);
  EXPECT_EQ(recall_dialect(file_, "sglang http://a:1"), Dialect::two);
  EXPECT_EQ(recall_dialect(file_, "sglang http://a:10"), Dialect::automatic);
  EXPECT_EQ(recall_dialect(file_, "sglang http://a:"), Dialect::automatic);
  EXPECT_EQ(text(), "2 sglang http://a:1\n1 vllm http://a:1\n");
}

TEST_F(DialectMemory, TheLatestCounts) {
  remember_dialect(file_, "a", Dialect::one);
  remember_dialect(file_, "b", Dialect::one);
  remember_dialect(file_, "a", Dialect::two);
  EXPECT_EQ(text(), "2 a\n1 b\n");
}

TEST_F(DialectMemory, WhatIsNotKnownIsForgotten) {
  remember_dialect(file_, "a", Dialect::one);
  remember_dialect(file_, "b", Dialect::two);
  remember_dialect(file_, "a", Dialect::automatic);
  remember_dialect(file_, "c", Dialect::native);
  EXPECT_EQ(text(), "2 b\n");
}

TEST_F(DialectMemory, ContentThatIsNoneIsPassedOver) {
  for (const std::string& bad : {std::string("\n\n\n"), std::string("2"), std::string("2a\n3 a\nnative a\nauto a\n"), std::string("\0\xff\n1", 4),
                                 std::string(300 << 10, '2')}) {
    dir_.write("dialects", bad);
    EXPECT_EQ(recall_dialect(file_, "a"), Dialect::automatic);
    EXPECT_EQ(recall_dialect(file_, ""), Dialect::automatic);
    remember_dialect(file_, "a", Dialect::two);
    EXPECT_EQ(text(), "2 a\n");
  }
  dir_.write("dialects", "nonsense\n2 a\n1 b");
  EXPECT_EQ(recall_dialect(file_, "a"), Dialect::two);
  EXPECT_EQ(recall_dialect(file_, "b"), Dialect::one);
}

TEST_F(DialectMemory, AFolderInTheWayOrNoFolderIsNoError) {
  std::filesystem::create_directory(file_);
  remember_dialect(file_, "a", Dialect::two);
  EXPECT_EQ(recall_dialect(file_, "a"), Dialect::automatic);
  remember_dialect(dir_ / "absent/dialects", "a", Dialect::two);
  EXPECT_FALSE(std::filesystem::exists(dir_ / "absent"));
}

TEST_F(DialectMemory, ItStaysSmall) {
  for (int i = 0; i < 80; ++i) remember_dialect(file_, fmt::format("engine {}", i), Dialect::one);
  remember_dialect(file_, "two\nlines", Dialect::one);
  EXPECT_EQ(recall_dialect(file_, "engine 79"), Dialect::one);
  EXPECT_EQ(recall_dialect(file_, "engine 16"), Dialect::one);
  EXPECT_EQ(recall_dialect(file_, "engine 15"), Dialect::automatic);
  EXPECT_EQ(recall_dialect(file_, "lines"), Dialect::automatic);
}

TEST_F(DialectMemory, OneWriterAtATime) {
  remember_dialect(file_, "a", Dialect::one);
  const UniqueFd other(::open(dir_.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  ASSERT_EQ(::flock(other.get(), LOCK_EX), 0);
  remember_dialect(file_, "b", Dialect::two);  // does not wait
  EXPECT_EQ(text(), "1 a\n");
}

}  // namespace
}  // namespace ckpt
