#include "os/abort_signal.h"

#include <poll.h>

#include <cerrno>

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

TEST(ErrnoStatus, KeepsTheSystemsText) {
  EXPECT_THAT(errno_status(ENOSPC, "write x"), Is(StatusCode::resource_exhausted, HasSubstr("write x: No space left on device (ENOSPC)")));
}

}  // namespace
}  // namespace ckpt
