#include "holder/memory_room.h"

#include "support/matchers.h"

namespace ckpt {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::Is;
using ::testing::Not;

TEST(MemoryRoom, IsThatOfThisMachine) {
  EXPECT_GT(memory_room().bytes, 0u);
  EXPECT_LE(memory_room().bytes, total_memory());
}

TEST(MemoryRoom, SaysHowMuchIsMissing) {
  const MemoryBound room{1000, "MemAvailable"};
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
