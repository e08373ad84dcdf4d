#include "holder/update_round.h"

#include <thread>

#include "support/matchers.h"

namespace ckpt {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using testing::Is;

UpdateOutcome outcome(std::uint64_t update, Status status = {}) {
  UpdateOutcome made;
  made.update = update;
  made.status = std::move(status);
  return made;
}
const Status kBad(StatusCode::invalid_argument, Scope::operation, "worker 1: tensor came twice");

TEST(UpdateRound, IsPreparedWhenEveryWorkerIs) {
  UpdateRound round(5, 2);
  std::thread workers([&round] {
    round.set(1, outcome(5));
    round.set(0, outcome(5));
  });
  EXPECT_OK(round.wait_prepared(Deadline::after(20s)));
  workers.join();
  round.set_lost(0, {StatusCode::unavailable, Scope::process, "killed after it had prepared"});
  EXPECT_OK(round.wait_prepared(Deadline::after(1ms)));  // its memory is there: the commit may go on without it
  EXPECT_FALSE(round.wait_committed(Deadline::after(1ms)));
  round.set_committed(1, 4);
  EXPECT_FALSE(round.wait_committed(Deadline::after(1ms)));
  round.set_committed(1, 5);
  EXPECT_TRUE(round.wait_committed(Deadline::after(1ms)));
}

TEST(UpdateRound, EndsAtTheFirstFailureAndKeepsIt) {
  UpdateRound round(5, 3);
  round.set(1, outcome(4, kBad));  // of an older update
  EXPECT_THAT(round.wait_prepared(Deadline::after(1ms)), Is(StatusCode::deadline_exceeded, HasSubstr("workers still at it: 0, 1, 2")));
  round.set(1, outcome(5, kBad));
  EXPECT_THAT(round.wait_prepared(Deadline::after(20s)), Is(StatusCode::invalid_argument, HasSubstr("came twice")));
  EXPECT_FALSE(round.wait_outcomes(Deadline::after(1ms)));
  round.set_lost(0, {StatusCode::unavailable, Scope::process, "worker 0: killed"});
  round.set(2, outcome(5));
  EXPECT_TRUE(round.wait_outcomes(Deadline::after(20s)));
  EXPECT_THAT(round.wait_prepared(Deadline::after(20s)), Is(StatusCode::invalid_argument));
  EXPECT_TRUE(round.outcomes()[0]->touched_arena);
}

TEST(UpdateRound, CanBeEndedFromOutside) {
  UpdateRound round(1, 1);
  std::thread stopper([&round] { round.fail({StatusCode::cancelled, Scope::process, "shut down"}); });
  EXPECT_THAT(round.wait_prepared(Deadline::after(20s)), Is(StatusCode::cancelled));
  stopper.join();
}

}  // namespace
}  // namespace ckpt
