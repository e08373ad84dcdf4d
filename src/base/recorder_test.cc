#include "base/recorder.h"

#include "base/deadline.h"
#include "base/fault_point.h"
#include "support/matchers.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using testing::Is;

class ManualClock final : public Clock {
 public:
  [[nodiscard]] TimePoint now() const override { return now_; }
  void advance(Duration by) { now_ += by; }

 private:
  TimePoint now_{};
};

TEST(Deadline, PassesOnceAndSaysWhatWasWaitedFor) {
  ManualClock clock;
  const Deadline deadline = Deadline::after(std::chrono::milliseconds(10), clock);
  EXPECT_OK(deadline.check("x"));
  EXPECT_EQ(deadline.poll_ms(), 10);
  clock.advance(std::chrono::milliseconds(11));
  EXPECT_THAT(deadline.check("ack of bucket 3"), Is(StatusCode::deadline_exceeded, HasSubstr("ack of bucket 3")));
  EXPECT_EQ(deadline.remaining(), Duration::zero());
}

TEST(Deadline, SaturatesInsteadOfWrapping) { EXPECT_FALSE(Deadline::after(Duration::max()).passed()); }

TEST(EventRecorder, TheRingKeepsTheNewestEventsInOrder) {
  EventRecorder recorder;
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(EventRecorder::kFlightEvents) + 10; ++i)
    recorder.record({Stage::fill, "copy", i, 0, i, i + 1, 1});
  const auto events = recorder.events();
  ASSERT_EQ(events.size(), EventRecorder::kFlightEvents);
  EXPECT_EQ(events.front().frame, 10);
  EXPECT_EQ(events.back().frame, static_cast<std::int64_t>(EventRecorder::kFlightEvents) + 9);
}

TEST(EventRecorder, TraceHasOneCompleteEventASpan) {
  EventRecorder recorder;
  { Span span(Stage::handover, "offer", 3, recorder); }
  const std::string fragments[] = {trace_fragment({2, "host\"x", recorder.events()})};
  const std::string json = trace_document(fragments);
  EXPECT_THAT(json, HasSubstr("\"name\":\"hand-over: offer\",\"pid\":2"));
  EXPECT_THAT(json, HasSubstr("rank 2 on hostx"));
}

TEST(FaultPoint, TheNthPassFails) {
  ASSERT_OK(set_fault_rules("a.b:2:error,*:3:error"));
  EXPECT_OK(fault_point("a.b"));
  EXPECT_THAT(fault_point("a.b"), Is(StatusCode::internal, HasSubstr("injected fault at a.b")));
  EXPECT_OK(fault_point("a.b"));
  EXPECT_OK(fault_point("sys.open"));
  EXPECT_OK(fault_point("sys.mmap"));
  EXPECT_THAT(fault_point("sys.open"), Is(StatusCode::internal));
  EXPECT_EQ(fault_point_passes(), 3u);
  EXPECT_THAT(set_fault_rules("nonsense"), Is(StatusCode::invalid_argument));
  ASSERT_OK(set_fault_rules(""));
}

}  // namespace
}  // namespace ckpt
