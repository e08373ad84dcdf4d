#include "os/threads.h"

#include <atomic>
#include <vector>

#include "support/matchers.h"

namespace ckpt {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;
using testing::Is;

TEST(ParallelFor, EachIndexRunsOnce) {
  for (const unsigned threads : {0u, 1u, 3u, 16u}) {
    std::vector<std::atomic<int>> seen(101);
    EXPECT_OK(parallel_for(seen.size(), threads, [&](std::size_t i) {
      ++seen[i];
      return Status::success();
    }));
    for (const auto& count : seen) EXPECT_EQ(count.load(), 1);
  }
  EXPECT_OK(parallel_for(0, 4, [](std::size_t) { return Status(StatusCode::internal, Scope::operation, "never called"); }));
}

TEST(ParallelFor, AFailureStopsTheRestAndTheLowestIndexIsTold) {
  std::atomic<std::size_t> ran{0};
  const Status status = parallel_for(100'000, 2, [&](std::size_t i) {
    ++ran;
    return i >= 10 ? Status(StatusCode::unavailable, Scope::operation, "index {}", i) : Status::success();
  });
  EXPECT_THAT(status, Is(StatusCode::unavailable, HasSubstr("index 1")));  // 10, or 11 where that ran first and 10 never
  EXPECT_LT(ran.load(), 20u);
}

}  // namespace
}  // namespace ckpt
