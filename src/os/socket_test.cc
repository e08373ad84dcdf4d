#include "os/socket.h"

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include "os/socket_address.h"
#include "os/wait_fd.h"
#include "support/matchers.h"

namespace ckpt {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using testing::Is;

struct Pair {
  Socket client;
  Socket server;
};

Pair connected_pair(Listener& listener, const AbortSignal& abort) {
  const Deadline deadline = Deadline::after(10s);
  Result<Socket> client = Socket::connect_tcp("127.0.0.1", listener.port(), deadline, abort);
  EXPECT_OK(client);
  Result<Socket> server = listener.accept(deadline, abort);
  EXPECT_OK(server);
  return {std::move(client).value(), std::move(server).value()};
}

class TcpSocket : public ::testing::Test {
 protected:
  AbortSignal abort_;
  Listener listener_ = std::move(Listener::tcp("127.0.0.1", 0, Deadline::after(10s), abort_)).value();
  Pair pair_ = connected_pair(listener_, abort_);
  Deadline deadline_ = Deadline::after(10s);
  Deadline short_ = Deadline::after(20ms);
};

TEST_F(TcpSocket, FramesArriveWholeAndInOrder) {
  const Bytes big(3 * MiB, std::byte{7});  // more than the socket's buffers hold: the sender must wait
  std::thread sender([&] {
    EXPECT_OK(pair_.client.send_frame({}, deadline_, abort_));
    EXPECT_OK(pair_.client.send_frame(big, deadline_, abort_));
  });
  const Result<Bytes> empty = pair_.server.receive_frame(10, deadline_, abort_);
  const Result<Bytes> second = pair_.server.receive_frame(big.size(), deadline_, abort_);
  sender.join();
  ASSERT_OK(empty);
  ASSERT_OK(second);
  EXPECT_TRUE(empty->empty());
  EXPECT_EQ(*second, big);
}

TEST_F(TcpSocket, AFrameAboveTheLimitIsRefusedBeforeMemoryIsTaken) {
  const std::byte announced[4] = {std::byte{0xff}, std::byte{0xff}, std::byte{0xff}, std::byte{0xff}};
  EXPECT_OK(pair_.client.send_all(announced, deadline_, abort_));
  EXPECT_THAT(pair_.server.receive_frame(100, deadline_, abort_), Is(StatusCode::data_corruption, HasSubstr("4294967295 bytes is announced")));
}

TEST_F(TcpSocket, ReceiveEndsAtItsDeadline) {
  std::byte one{};
  EXPECT_THAT(pair_.server.receive_all({&one, 1}, short_, abort_), Is(StatusCode::deadline_exceeded, HasSubstr("receive")));
}

TEST_F(TcpSocket, SendToAPeerThatDoesNotReadEndsAtItsDeadline) {
  const Bytes big(64 * MiB);
  EXPECT_THAT(pair_.client.send_all(big, short_, abort_), Is(StatusCode::deadline_exceeded, HasSubstr("send")));
}

TEST_F(TcpSocket, ReceiveEndsWhenAborted) {
  std::byte one{};
  std::thread aborter([&] { abort_.trigger({StatusCode::cancelled, Scope::operation, "enough"}); });
  EXPECT_THAT(pair_.server.receive_all({&one, 1}, deadline_, abort_), Is(StatusCode::cancelled, HasSubstr("enough")));
  aborter.join();
}

TEST_F(TcpSocket, AClosedPeerIsUnavailable) {
  pair_.client = Socket();
  std::byte one{};
  EXPECT_THAT(pair_.server.receive_all({&one, 1}, deadline_, abort_), Is(StatusCode::unavailable, HasSubstr("closed")));
}

TEST_F(TcpSocket, APortThatNobodyListensOnRefuses) {
  std::uint16_t port = 0;
  {
    Result<Listener> listener = Listener::tcp("127.0.0.1", 0, deadline_, abort_);
    ASSERT_OK(listener);
    port = listener->port();
  }
  EXPECT_THAT(Socket::connect_tcp("127.0.0.1", port, deadline_, abort_), Is(StatusCode::unavailable, HasSubstr("Connection refused")));
}

TEST_F(TcpSocket, APortThatIsTakenIsNamed) {
  EXPECT_THAT(Listener::tcp("127.0.0.1", listener_.port(), deadline_, abort_),
              Is(StatusCode::failed_precondition, HasSubstr(host_and_port("127.0.0.1", listener_.port()))));
}

TEST(UnixSocket, ListensOnAPathAndRemovesIt) {
  const std::string path = fmt::format("{}/ckpt-socket-test-{}", ::testing::TempDir(), ::getpid());
  AbortSignal abort;
  const Deadline deadline = Deadline::after(10s);
  {
    Result<Listener> listener = Listener::unix_path(path);
    ASSERT_OK(listener);
    Result<Socket> client = Socket::connect_unix(path, deadline, abort);
    ASSERT_OK(client);
    Result<Socket> server = listener->accept(deadline, abort);
    ASSERT_OK(server);
    EXPECT_OK(client->send_frame(to_bytes("hello"), deadline, abort));
    const Result<Bytes> frame = server->receive_frame(100, deadline, abort);
    ASSERT_OK(frame);
    EXPECT_EQ(as_text(*frame), "hello");
  }
  EXPECT_NE(::access(path.c_str(), F_OK), 0);
}

TEST(UnixSocket, APathThatIsTooLongIsRefused) {
  EXPECT_THAT(unix_address(std::string(108, 'x')), Is(StatusCode::invalid_argument, HasSubstr("107 bytes")));
  EXPECT_OK(unix_address(std::string(107, 'x')));
  EXPECT_EQ(unix_address("@abstract")->to_string(), "@abstract");
}

TEST(Resolve, ReadsLiteralsAndNames) {
  AbortSignal abort;
  const Deadline deadline = Deadline::after(10s);
  const auto v4 = resolve("127.0.0.1", 80, deadline, abort);
  ASSERT_OK(v4);
  EXPECT_EQ(v4->front().to_string(), "127.0.0.1:80");
  EXPECT_TRUE(v4->front().is_loopback());
  const auto v6 = resolve("::1", 80, deadline, abort);
  ASSERT_OK(v6);
  EXPECT_EQ(v6->front().to_string(), "[::1]:80");
  EXPECT_OK(resolve("localhost", 80, deadline, abort));
}

TEST(WaitFd, PauseEndsWithTheAbort) {
  AbortSignal abort;
  EXPECT_OK(pause_for(1ms, abort));
  abort.trigger({StatusCode::cancelled, Scope::operation, "enough"});
  EXPECT_THAT(pause_for(1h, abort), Is(StatusCode::cancelled));
}

}  // namespace
}  // namespace ckpt
