#include "os/direct_io.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cstring>
#include <filesystem>

#include "base/bytes.h"
#include "support/matchers.h"
#include "support/temporary_directory.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using testing::Is;

constexpr std::uint64_t kFileBytes = 3 * MiB + 1234;

std::string content() {
  std::string text(kFileBytes, '\0');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>((i * 7 + i / 4096) & 0xff);
  return text;
}

/// Writes the file's dirty pages and takes it out of the page cache; whether that worked is up to the file system.
void evict(const DirectFile& file) {
  ::fsync(file.file().fd());
  ::posix_fadvise(file.file().fd(), 0, 0, POSIX_FADV_DONTNEED);
}

class DirectIo : public ::testing::TestWithParam<const char*> {
 protected:
  DirectIo() : dir_(GetParam()), text_(content()), path_(dir_.write("file", text_)), buffer_(Mapping::anonymous(4 * MiB).value()) {}
  [[nodiscard]] bool same(std::uint64_t offset, std::uint64_t bytes) const { return std::memcmp(buffer_.data(), text_.data() + offset, bytes) == 0; }
  testing::TemporaryDirectory dir_;
  std::string text_;
  std::string path_;
  Mapping buffer_;
};

TEST_P(DirectIo, ReadsAnyRangeColdAndWarm) {
  const DirectFile file = DirectFile::open(path_).value();
  struct Part {
    std::uint64_t offset;
    std::uint64_t bytes;
  };
  for (const Part part : {Part{0, kFileBytes}, Part{8192, 1 * MiB}, Part{3 * MiB, 1234}, Part{4096, 100}, Part{5, 70'000}, Part{4096, 0}}) {
    for (const bool cold : {true, false}) {
      if (cold) evict(file);
      std::memset(buffer_.data(), 0xee, buffer_.bytes());
      bool direct = false;
      ASSERT_OK(file.read(part.offset, buffer_.span().first(part.bytes), &direct)) << part.offset << " " << part.bytes;
      EXPECT_TRUE(same(part.offset, part.bytes)) << part.offset << " " << part.bytes;
      EXPECT_EQ(buffer_.data()[part.bytes], std::byte{0xee}) << "wrote beyond the range";
    }
  }
}

TEST_P(DirectIo, WarmFilesComeOutOfThePageCache) {
  const DirectFile file = DirectFile::open(path_).value();
  ASSERT_OK(file.file().read_all(0, buffer_.span().first(kFileBytes)));
  bool direct = true;
  ASSERT_OK(file.read(0, buffer_.span().first(kFileBytes), &direct));
  EXPECT_FALSE(direct);
}

TEST_P(DirectIo, TheEndOfTheFileIsNamed) {
  const DirectFile file = DirectFile::open(path_).value();
  evict(file);
  std::filesystem::resize_file(path_, 2 * MiB + 10);
  bool direct = false;
  EXPECT_THAT(file.read(1 * MiB, buffer_.span().first(2 * MiB), &direct), Is(StatusCode::data_corruption, HasSubstr("ends at offset 2097162")));
  EXPECT_THAT(file.check_unchanged(), Is(StatusCode::data_corruption, HasSubstr("file was changed")));
}

TEST_P(DirectIo, AFileThatStaysIsUnchanged) { EXPECT_OK(DirectFile::open(path_).value().check_unchanged()); }

INSTANTIATE_TEST_SUITE_P(Files, DirectIo, ::testing::Values("/tmp", "/dev/shm"),
                         [](const auto& place) { return std::string(place.param) == "/tmp" ? "OnDisk" : "InMemory"; });

TEST(DirectIoOnDisk, AskingDoesNotWarmTheFile) {
  const testing::TemporaryDirectory dir;
  const DirectFile file = DirectFile::open(dir.write("file", content())).value();
  if (file.in_memory()) GTEST_SKIP() << "/tmp is no disk here";
  const Mapping buffer = Mapping::anonymous(2 * MiB).value();
  evict(file);
  for (int round = 0; round < 6; ++round) {
    bool direct = false;
    ASSERT_OK(file.read(0, buffer.span(), &direct));
    EXPECT_TRUE(direct) << "read " << round << " of a cold file";
  }
}

TEST(PageCacheOfOthers, IsAskedPageByPageAndNotBelieved) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs a second user";
  const testing::TemporaryDirectory dir;
  ASSERT_EQ(::chmod(dir.path().c_str(), 0755), 0);
  const std::string path = dir.write("file", std::string(2 * MiB, 'x'));
  ASSERT_EQ(::chmod(path.c_str(), 0444), 0);
  const File file = File::open_for_reading(path).value();
  ::fsync(file.fd());
  ::posix_fadvise(file.fd(), 0, 0, POSIX_FADV_DONTNEED);
  ASSERT_EQ(::seteuid(65534), 0);
  const PageCache cache(file);
  const bool cold = !cache.holds(0, 2 * MiB);
  const bool still_cold = !cache.holds(0, 2 * MiB);
  ASSERT_EQ(::seteuid(0), 0);
  EXPECT_TRUE(cold);
  EXPECT_TRUE(still_cold);
  Bytes all(2 * MiB);
  ASSERT_OK(file.read_all(0, all));
  ASSERT_EQ(::seteuid(65534), 0);
  EXPECT_TRUE(cache.holds(0, 2 * MiB));
  ASSERT_EQ(::seteuid(0), 0);
}

}  // namespace
}  // namespace ckpt
