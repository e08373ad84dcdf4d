// What a load does when files, memory or time are not as they should be: one clear error, and nothing left.
#include "base/fault_point.h"
#include "support/pool_fixture.h"

namespace ckpt {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::Is;

class LoadFailure : public testing::PoolFixture {
 protected:
  void SetUp() override {
    PoolFixture::SetUp();
    before_ = left();
  }
  void TearDown() override { EXPECT_TRUE(settled()); }
  /// A joined thread leaves /proc a moment later.
  [[nodiscard]] bool settled() const {
    const Deadline deadline = Deadline::after(std::chrono::seconds(20));
    while (left() != before_ && !deadline.passed()) ::sched_yield();
    return left() == before_;
  }
  Left before_{};
};

TEST_P(LoadFailure, AFileThatShrank) {
  std::filesystem::resize_file(checkpoint_.files[1].path, checkpoint_.files[1].bytes - 10);
  EXPECT_THAT(load(layout_of(1), 0),
              Is(StatusCode::data_corruption, AllOf(HasSubstr("load"), HasSubstr("rank 0"), HasSubstr("model-1.safetensors"))));
}

TEST_P(LoadFailure, AFileThatWasWrittenAfterItsHeaderWasRead) {
  change_a_byte();
  EXPECT_THAT(load(layout_of(1), 0), Is(StatusCode::data_corruption, HasSubstr("model-0.safetensors was changed")));
}

TEST_P(LoadFailure, AFileThatIsGone) {
  std::filesystem::remove(checkpoint_.files[0].path);
  EXPECT_THAT(load(layout_of(1), 0), Is(StatusCode::not_found, HasSubstr("model-0.safetensors")));
}

TEST_P(LoadFailure, AnAbort) {
  abort_.trigger({StatusCode::cancelled, Scope::operation, "enough"});
  EXPECT_THAT(load(layout_of(1), 0), Is(StatusCode::cancelled, HasSubstr("enough")));
}

TEST_P(LoadFailure, ADeadline) {
  const auto late = pool_->load(checkpoint_, layout_of(1), 0, options_, Deadline::after(Duration::zero()), abort_, nullptr);
  EXPECT_THAT(late, Is(StatusCode::deadline_exceeded, HasSubstr("reading the checkpoint")));
}

TEST_P(LoadFailure, AFailedLoadLeavesEarlierSharesAndReadyMemory) {
  const CheckpointLayout layout = layout_of(1);
  {
    auto kept = load(layout, 0);
    ASSERT_OK(kept);
    std::vector<Bytes> frames;
    std::filesystem::resize_file(checkpoint_.files[1].path, checkpoint_.files[1].bytes - 10);
    EXPECT_FALSE(load(layout, 0).ok());
    place(**kept, layout, frames);
    expect_tensors(layout, frames);
  }
  pool_ = make_host_pool(*device_);  // the arena was kept for reuse
}

#if defined(CKPT_FAULT_POINTS)
TEST_P(LoadFailure, AnAbortInTheMiddle) {
  std::uint64_t read_bytes = 0;
  options_.read_threads = options_.memory_threads = 1;
  options_.progress = [&](const LoadProgress& now) {
    read_bytes = now.read_bytes;
    abort_.trigger({StatusCode::cancelled, Scope::operation, "enough"});
  };
  ASSERT_OK(set_fault_rules("load.before_read:5:sleep=0.15"));  // longer than the pause between two calls
  EXPECT_THAT(load(layout_of(1), 0), Is(StatusCode::cancelled, HasSubstr("enough")));
  ASSERT_OK(set_fault_rules(""));
  EXPECT_EQ(read_bytes, 5 * options_.read_chunk_bytes);
}

TEST_P(LoadFailure, InTheMiddle) {
  ASSERT_OK(set_fault_rules("load.before_read:9:error"));
  EXPECT_THAT(load(layout_of(1), 0), Is(StatusCode::internal, AllOf(HasSubstr("load.before_read"), HasSubstr("rank 0"))));
  ASSERT_OK(set_fault_rules(""));
}

TEST_P(LoadFailure, EverySystemCallInTurn) {
  for (const bool adopt : {false, true}) {
    options_.adopt = adopt;
    const CheckpointLayout layout = layout_of(1);
    int failures = 0;
    for (std::uint64_t nth = 1;; ++nth) {
      ASSERT_OK(set_fault_rules(fmt::format("*:{}:error", nth)));
      const bool ok = load(layout, 0).ok();
      const bool fired = fault_point_passes() >= nth;
      ASSERT_OK(set_fault_rules(""));
      if (ok) pool_ = make_host_pool(*device_);  // a call whose failure is tolerated leaves an arena for reuse
      EXPECT_TRUE(settled()) << "after call " << nth;
      if (!fired) break;
      if (!ok) ++failures;
    }
    EXPECT_GT(failures, 3);
    EXPECT_OK(load(layout, 0));
    pool_ = make_host_pool(*device_);
  }
}
#endif

INSTANTIATE_TEST_SUITE_P(Files, LoadFailure, ::testing::Values("/tmp", "/dev/shm"), testing::pool_place_name);

}  // namespace
}  // namespace ckpt
