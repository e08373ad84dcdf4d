#include "os/fd_passing.h"

#include <sys/socket.h>

#include "os/shared_memory.h"
#include "support/matchers.h"

namespace ckpt {
namespace {

using testing::Is;

struct SocketPair {
  SocketPair() {
    int fds[2] = {-1, -1};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    a.reset(fds[0]);
    b.reset(fds[1]);
  }
  UniqueFd a;
  UniqueFd b;
};

TEST(FdPassing, MemoryOfOneSideIsSeenByTheOther) {
  SocketPair pair;
  const AbortSignal abort;
  const auto soon = Deadline::after(std::chrono::seconds(5));
  const UniqueFd memory = create_memfd("test", 4096).value();
  Mapping mine = Mapping::shared(memory.get(), 4096, Access::read_write).value();
  mine.data()[5] = std::byte{42};
  const int fd = memory.get();
  ASSERT_OK(send_fds(pair.a.get(), std::span(&fd, 1), "hello", soon, abort));
  auto received = receive_fds(pair.b.get(), 64, soon, abort);
  ASSERT_OK(received);
  EXPECT_EQ(received->payload, "hello");
  ASSERT_EQ(received->fds.size(), 1u);
  const Mapping theirs = Mapping::shared(received->fds[0].get(), 4096, Access::read_only).value();
  EXPECT_EQ(theirs.data()[5], std::byte{42});
}

TEST(FdPassing, LongMessagesDeadlinesAndGonePeersAreErrors) {
  SocketPair pair;
  const AbortSignal abort;
  EXPECT_THAT(receive_fds(pair.b.get(), 4, Deadline::after(std::chrono::milliseconds(1)), abort), Is(StatusCode::deadline_exceeded));
  ASSERT_OK(send_fds(pair.a.get(), {}, "too long", Deadline::after(std::chrono::seconds(5)), abort));
  EXPECT_THAT(receive_fds(pair.b.get(), 4, Deadline::after(std::chrono::seconds(5)), abort), Is(StatusCode::data_corruption));
  pair.a.reset();
  EXPECT_THAT(receive_fds(pair.b.get(), 4, Deadline::after(std::chrono::seconds(5)), abort), Is(StatusCode::unavailable));
}

}  // namespace
}  // namespace ckpt
