#include "os/abort_signal.h"

#include <poll.h>

#include <cerrno>
#include <chrono>
#include <memory>
#include <thread>

#include "os/error.h"
#include "support/matchers.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using testing::Is;

TEST(AbortSignal, TheFirstReasonStaysAndTheDescriptorStaysReadable) {
  AbortSignal signal;
  EXPECT_OK(signal.check());
  EXPECT_TRUE(signal.trigger({StatusCode::unavailable, Scope::group, "rank 2 is gone"}));
  EXPECT_FALSE(signal.trigger({StatusCode::internal, Scope::process, "later"}));
  EXPECT_THAT(signal.check(), Is(StatusCode::unavailable, HasSubstr("rank 2 is gone")));
  for (int i = 0; i < 2; ++i) {
    pollfd entry{signal.fd(), POLLIN, 0};
    EXPECT_EQ(::poll(&entry, 1, 0), 1);
  }
}

TEST(AbortSignal, FromASignalHandlerItSaysInterrupted) {
  AbortSignal signal;
  signal.trigger_from_signal_handler();
  EXPECT_THAT(signal.check(), Is(StatusCode::cancelled, HasSubstr("interrupted")));
}

TEST(AbortLink, ActsOnceWithTheReasonOnTheThreadThatTriggers) {
  AbortSignal parent;
  AbortSignal child;
  int calls = 0;
  std::thread::id thread;
  const AbortLink link(parent, [&](const Status& reason) {
    ++calls;
    thread = std::this_thread::get_id();
    child.trigger(reason);
  });
  EXPECT_OK(child.check());
  parent.trigger({StatusCode::unavailable, Scope::group, "rank 2 is gone"});
  parent.trigger({StatusCode::internal, Scope::process, "later"});
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(thread, std::this_thread::get_id());
  EXPECT_THAT(child.check(), Is(StatusCode::unavailable, HasSubstr("rank 2 is gone")));
}

TEST(AbortLink, ActsAtOnceWhereItComesTooLateAndNeverAfterItsEnd) {
  AbortSignal signal;
  int calls = 0;
  {
    const AbortLink ended(signal, [&](const Status&) { ++calls; });
  }
  signal.trigger({StatusCode::cancelled, Scope::operation, "enough"});
  EXPECT_EQ(calls, 0);
  const AbortLink late(signal, [&](const Status&) { ++calls; });
  EXPECT_EQ(calls, 1);
}

TEST(AbortLink, ItsEndWaitsForAnActUnderWay) {
  AbortSignal signal;
  std::atomic<bool> acting{false};
  std::atomic<bool> done{false};
  auto link = std::make_unique<AbortLink>(signal, [&](const Status&) {
    acting = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    done = true;
  });
  std::thread other([&] { signal.trigger({StatusCode::cancelled, Scope::operation, "enough"}); });
  while (!acting) std::this_thread::yield();
  link.reset();
  EXPECT_TRUE(done);
  other.join();
}

TEST(ErrnoStatus, KeepsTheSystemsText) {
  EXPECT_THAT(errno_status(ENOSPC, "write x"), Is(StatusCode::resource_exhausted, HasSubstr("write x: No space left on device (ENOSPC)")));
}

}  // namespace
}  // namespace ckpt
