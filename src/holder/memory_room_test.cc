#include "holder/memory_room.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "support/matchers.h"

namespace ckpt {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::Is;
using ::testing::Not;

// A made-up /proc and /sys.
class FakeRoot {
 public:
  FakeRoot() : path_(std::filesystem::temp_directory_path() / fmt::format("ckpt-room-{}", ::getpid())) {
    write("/proc/meminfo", "MemFree: 1 kB\nMemAvailable:    1000 kB\n");
  }
  ~FakeRoot() { std::filesystem::remove_all(path_); }
  void write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories((path_ + name).substr(0, (path_ + name).rfind('/')));
    std::ofstream(path_ + name) << text;
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

TEST(MemoryRoom, WithoutGroupsItIsWhatTheSystemHas) {
  const FakeRoot root;
  const Result<MemoryRoom> room = read_memory_room(root.path());
  ASSERT_OK(room);
  EXPECT_EQ(room->bytes, 1000u * 1024);
  EXPECT_EQ(room->bound, "MemAvailable");
  EXPECT_OK(read_memory_room());  // the real one
}

TEST(MemoryRoom, TheTightestGroupUpToTheRootDecides) {
  const FakeRoot root;
  root.write("/proc/self/cgroup", "0::/outer/inner\n");
  const std::string mount = "/sys/fs/cgroup";
  root.write(mount + "/outer/inner/memory.max", "max\n");
  root.write(mount + "/outer/inner/memory.current", "10\n");
  root.write(mount + "/outer/memory.max", "500000\n");
  root.write(mount + "/outer/memory.current", "100000\n");
  root.write(mount + "/outer/memory.stat", "anon 1\ninactive_file 30000\n");
  const Result<MemoryRoom> room = read_memory_room(root.path());
  ASSERT_OK(room);
  EXPECT_EQ(room->bytes, 430000u);
  EXPECT_THAT(room->bound, HasSubstr("/outer/memory.max"));
  root.write(mount + "/outer/memory.current", "600000\n");  // over its limit
  EXPECT_EQ(read_memory_room(root.path())->bytes, 0u);
}

TEST(MemoryRoom, ReadsTheOldGroupsAndAContainersRoot) {
  const FakeRoot root;
  root.write("/proc/self/cgroup", "5:cpuset:/a\n4:cpu,memory:/docker/abc\n");
  root.write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "300000\n");
  root.write("/sys/fs/cgroup/memory/memory.usage_in_bytes", "100000\n");
  EXPECT_EQ(read_memory_room(root.path())->bytes, 200000u);
}

TEST(MemoryRoom, SaysHowMuchIsMissing) {
  const MemoryRoom room{1000, "MemAvailable"};
  EXPECT_OK(check_room_for_weights(500, false, room));
  EXPECT_OK(check_room_for_weights(1000, true, room));
  EXPECT_THAT(check_room_for_weights(600, false, room),
              Is(StatusCode::resource_exhausted, AllOf(HasSubstr("200 bytes are missing"), HasSubstr("--in-place"))));
  EXPECT_THAT(check_room_for_weights(1600, true, room),
              Is(StatusCode::resource_exhausted, AllOf(HasSubstr("600 bytes are missing"), Not(HasSubstr("--in-place")))));
  EXPECT_THAT(check_room_for_weights(~std::uint64_t{0}, false, room), Is(StatusCode::resource_exhausted));
}

}  // namespace
}  // namespace ckpt
