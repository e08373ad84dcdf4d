#include "receiver/sender_presence.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/socket.h"
#include "os/socket_address.h"
#include "support/matchers.h"
#include "support/temporary_directory.h"

namespace ckpt {
namespace {

TEST(SenderPresence, TellsALivingListenerFromWhatADeadOneLeaves) {
  const testing::TemporaryDirectory directory;
  const std::string path = directory / "sender";
  EXPECT_FALSE(somebody_listens("ipc://" + path));
  UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const Result<SocketAddress> address = unix_address(path);
  ASSERT_OK(address);
  ASSERT_EQ(::bind(listener.get(), address->get(), address->bytes), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  EXPECT_TRUE(somebody_listens("ipc://" + path));
  ASSERT_EQ(::fcntl(listener.get(), F_SETFL, O_NONBLOCK), 0);
  EXPECT_EQ(::accept(listener.get(), nullptr, nullptr), -1);  // it was not disturbed
  listener.reset();                                           // the file stays
  EXPECT_FALSE(somebody_listens("ipc://" + path));
}

TEST(SenderPresence, KnowsAbstractNames) {
  const std::string name = fmt::format("@ckpt-presence-{}", ::getpid());
  EXPECT_FALSE(somebody_listens("ipc://" + name));
  {
    UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const Result<SocketAddress> address = unix_address(name);
    ASSERT_EQ(::bind(listener.get(), address->get(), address->bytes), 0);
    ASSERT_EQ(::listen(listener.get(), 1), 0);
    EXPECT_TRUE(somebody_listens("ipc://" + name));
    EXPECT_FALSE(somebody_listens("ipc://" + name + "x"));
  }
  EXPECT_FALSE(somebody_listens("ipc://" + name));
}

TEST(SenderPresence, DoesNotGuess) {
  EXPECT_TRUE(somebody_listens("tcp://127.0.0.1:1"));
  EXPECT_TRUE(somebody_listens("ipc:///" + std::string(200, 'x')));
}

}  // namespace
}  // namespace ckpt
