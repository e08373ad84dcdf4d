// Keepers with processes that are no workers: they end at once, fall silent, or do not exist.
#include "holder/worker_keeper.h"

#include <future>

#include "support/matchers.h"

namespace ckpt {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using testing::Is;

class Recorder final : public WorkerListener {
 public:
  void on_ready(std::uint32_t, const Status&) override {}
  void on_lost(std::uint32_t, const Status& reason) override {
    const MutexLock lock(mutex_);
    losses_.push_back(reason);
    changed_.notify_all();
  }
  void on_outcome(std::uint32_t, const UpdateOutcome&) override {}
  void on_committed(std::uint32_t, std::uint64_t) override {}

  std::vector<Status> wait_for_losses(std::size_t count) {
    const Deadline deadline = Deadline::after(30s);
    const MutexLock lock(mutex_);
    while (losses_.size() < count && changed_.wait_until(mutex_, deadline.time()) != std::cv_status::timeout) {
    }
    return losses_;
  }

 private:
  Mutex mutex_;
  ConditionVariable changed_;
  std::vector<Status> losses_ CKPT_GUARDED_BY(mutex_);
};

WorkerSpec spec(std::vector<std::string> command) {
  WorkerSpec made;
  made.rank = 1;
  made.tp = 2;
  made.command = std::move(command);
  made.heartbeat_interval = 20ms;
  made.heartbeat_timeout = 100ms;
  return made;
}

TEST(WorkerKeeper, StartsAWorkerAgainThatEnds) {
  Recorder recorder;
  WorkerKeeper keeper(spec({"/bin/sh", "-c", "exit 3"}), recorder);
  ASSERT_OK(keeper.start());
  const std::vector<Status> losses = recorder.wait_for_losses(2);
  ASSERT_GE(losses.size(), 2u);
  EXPECT_THAT(losses[1], Is(StatusCode::unavailable, HasSubstr("worker 1: the process exited with code 3")));
  EXPECT_THAT(keeper.start_update({}), ::testing::AnyOf(Is(StatusCode::unavailable), testing::IsOk()));
}

TEST(WorkerKeeper, EndsAWorkerThatFallsSilent) {
  Recorder recorder;
  WorkerKeeper keeper(spec({"/bin/sh", "-c", "exec sleep 1000"}), recorder);
  ASSERT_OK(keeper.start());
  EXPECT_THAT(recorder.wait_for_losses(1).at(0), Is(StatusCode::deadline_exceeded, HasSubstr("worker 1: did not answer for 100.0 ms")));
}

TEST(WorkerKeeper, SaysWhatCannotBeStarted) {
  Recorder recorder;
  WorkerKeeper keeper(spec({"/no/such/program"}), recorder);
  ASSERT_OK(keeper.start());
  EXPECT_THAT(recorder.wait_for_losses(1).at(0), Is(StatusCode::not_found, HasSubstr("/no/such/program")));
}

TEST(WorkerKeeper, KillsOnDemandAndSaysWhy) {
  Recorder recorder;
  WorkerSpec patient = spec({"/bin/sh", "-c", "exec sleep 1000"});
  patient.heartbeat_timeout = 1000s;
  WorkerKeeper keeper(patient, recorder);
  ASSERT_OK(keeper.start());
  while (!keeper.start_update({}).ok()) std::this_thread::yield();  // until there is a process
  keeper.kill("the test wants it");
  EXPECT_THAT(recorder.wait_for_losses(1).at(0), Is(StatusCode::unavailable, HasSubstr("was ended: the test wants it")));
}

TEST(PrefixedCommand, PutsTheWorkersNumberIntoEachWord) {
  using Words = std::vector<std::string>;
  EXPECT_EQ(prefixed_command("", 3, {"worker", "{rank}"}), (Words{"worker", "{rank}"}));
  EXPECT_EQ(prefixed_command(" on  gpu{rank}:{rank} ", 12, {"worker"}), (Words{"on", "gpu12:12", "worker"}));
}

}  // namespace
}  // namespace ckpt
