// Workers that come twice in one update call, as an engine with a draft model makes them.
#include <atomic>
#include <filesystem>
#include <thread>

#include "channel/bucket_session.h"
#include "channel/pickle_writer.h"
#include "channel/zmq_socket.h"
#include "os/wait_fd.h"
#include "support/matchers.h"
#include "support/temporary_directory.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using testing::Is;
using testing::soon;
using testing::TemporaryDirectory;

const std::string kHandle = pickle_handle(std::string(64, 'h'), 1 << 20);

/// One session of a worker: what it hears, each message answered well. It disconnects after `messages`.
std::vector<std::string> hear(const std::string& address, int messages) {
  const AbortSignal never;
  auto socket = ZmqSocket::open(ZmqSocket::Role::reply_and_connect, address, {}).value();
  std::vector<std::string> heard;
  for (int i = 0; i < messages; ++i) {
    Result<std::string> message = socket->receive(1 << 20, soon(), never, "message");
    // One that came when the session before had just ended is cut off, and comes again, which libzmq does unasked.
    while (heard.empty() && message.status().code() == StatusCode::unavailable) {
      EXPECT_OK(socket->wait_for_peer(soon(), never));
      message = socket->receive(1 << 20, soon(), never, "message");
    }
    EXPECT_OK(message);
    if (!message.ok()) break;
    heard.push_back(*message);
    EXPECT_OK(socket->send("", soon(), never, "answer"));
  }
  return heard;
}

class RepeatedSession : public ::testing::TestWithParam<const char*> {
 protected:
  std::unique_ptr<BucketSession> open(Dialect dialect) {
    options_.socket_dir = std::string(GetParam()) == "abstract" ? "abstract" : dir_ / "sockets";
    options_.dialect = dialect;
    return open_session(options_, abort_).value();
  }
  static Status deliver(BucketSession& session) {
    CKPT_RETURN_IF_ERROR(session.connect({std::string(64, 'h'), -1, 1 << 20}, soon()));
    CKPT_RETURN_IF_ERROR(session.offer(0, pickle_bucket({}), soon()));
    CKPT_RETURN_IF_ERROR(session.release(soon()));
    return session.finish(soon());
  }
  [[nodiscard]] long entries() const { return std::distance(std::filesystem::directory_iterator(options_.journal_dir), {}); }

  TemporaryDirectory dir_;
  AbortSignal abort_;
  AbortSignal call_ended_;
  SessionOptions options_{"", dir_ / "journal", "GPU-test"};
};

TEST_P(RepeatedSession, IsAWholeSessionAgain) {
  for (const Dialect dialect : {Dialect::one, Dialect::two, Dialect::automatic}) {
    for (const int messages : {3, 4}) {
      if (dialect == (messages == 3 ? Dialect::two : Dialect::one)) continue;
      auto session = open(dialect);
      session->engine_asked();
      std::vector<std::vector<std::string>> heard;
      std::thread worker([&] {
        for (int i = 0; i < 3; ++i) heard.push_back(hear(session->address(), messages));
      });
      for (int i = 0; i < 3; ++i) {
        if (i > 0) {
          ASSERT_OK(session->reopen());
          const Result<bool> again = session->comes_again(soon(), call_ended_);
          ASSERT_OK(again);
          EXPECT_TRUE(*again);
        }
        ASSERT_OK(deliver(*session));
        EXPECT_EQ(session->dialect(), messages == 3 ? Dialect::one : Dialect::two);
      }
      worker.join();
      for (const auto& one : heard) {
        ASSERT_EQ(one.size(), static_cast<std::size_t>(messages));
        EXPECT_EQ(one.front(), kHandle);
        EXPECT_EQ(one.back(), pickle_none());
      }
      session.reset();
      EXPECT_EQ(entries(), 0);
    }
  }
}

TEST_P(RepeatedSession, TheNextWorkerMayComeBeforeTheFirstHasClosed) {
  for (const Dialect expected : {Dialect::automatic, Dialect::two}) {
    options_.expected = expected;
    const auto session = open(Dialect::automatic);
    std::vector<std::string> heard;
    const AbortSignal never;
    std::atomic<bool> first_is_over = false;
    std::thread second([&] {  // in its own time: what it connects to must be the second session
      while (!first_is_over) std::this_thread::yield();
      heard = hear(session->address(), 3);
    });
    std::thread first([&] {  // of dialect 1, and slow to close
      auto socket = ZmqSocket::open(ZmqSocket::Role::reply_and_connect, session->address(), {}).value();
      for (int i = 0; i < 3; ++i) {
        ASSERT_OK(socket->receive(1 << 20, soon(), never, "message"));
        first_is_over = i == 2;
        ASSERT_OK(socket->send("", soon(), never, "answer"));
      }
      ASSERT_OK(pause_for(std::chrono::milliseconds(50), never));
    });
    ASSERT_OK(deliver(*session));
    first.join();
    EXPECT_EQ(session->dialect(), Dialect::one);
    ASSERT_OK(session->reopen());
    ASSERT_OK(deliver(*session));
    second.join();
    ASSERT_EQ(heard.size(), 3U);
    EXPECT_EQ(heard.front(), kHandle);
  }
}

TEST_P(RepeatedSession, TheEndOfTheCallEndsTheWait) {
  auto session = open(Dialect::two);
  session->engine_asked();
  std::thread worker([&] { static_cast<void>(hear(session->address(), 4)); });
  ASSERT_OK(deliver(*session));
  worker.join();
  ASSERT_OK(session->reopen());
  std::thread reply([this] { call_ended_.trigger({StatusCode::cancelled, Scope::operation, "replied"}); });
  const Result<bool> again = session->comes_again(soon(), call_ended_);
  reply.join();
  ASSERT_OK(again);
  EXPECT_FALSE(*again);
  session->engine_answered();
  session.reset();
  EXPECT_EQ(entries(), 0);
}

TEST_P(RepeatedSession, WithoutTheEnginesReplyAWorkerMayStillCome) {
  std::string address;
  {
    const auto session = open(Dialect::two);
    address = session->address();
    session->engine_asked();
    std::thread worker([&] { static_cast<void>(hear(session->address(), 4)); });
    ASSERT_OK(deliver(*session));
    worker.join();
    ASSERT_OK(session->reopen());
    EXPECT_THAT(session->comes_again(Deadline::after(std::chrono::milliseconds(10)), call_ended_), Is(StatusCode::deadline_exceeded));
  }
  EXPECT_EQ(entries(), 1);
  std::vector<std::string> heard;
  std::thread worker([&] { heard = hear(address, 1); });
  const Result<int> freed = recover_sessions(options_.journal_dir, soon());
  worker.join();
  ASSERT_OK(freed);
  EXPECT_EQ(*freed, 1);
  ASSERT_EQ(heard.size(), 1U);
  EXPECT_THAT(heard[0], HasSubstr("RuntimeError"));
}

INSTANTIATE_TEST_SUITE_P(Addresses, RepeatedSession, ::testing::Values("path", "abstract"),
                         [](const auto& parameter) { return std::string(parameter.param); });

TEST(SessionSocket, NobodyElseCanComeDuringASession) {
  const TemporaryDirectory dir;
  const AbortSignal abort;
  SessionOptions options{dir / "sockets", dir / "journal", "GPU-test", Dialect::two};
  const auto session = open_session(options, abort).value();
  const std::string path = session->address().substr(6);
  EXPECT_TRUE(std::filesystem::exists(path));
  std::thread worker([&] { static_cast<void>(hear(session->address(), 3)); });
  ASSERT_OK(session->connect({std::string(64, 'h'), -1, 1 << 20}, soon()));
  EXPECT_FALSE(std::filesystem::exists(path));
  ASSERT_OK(session->release(soon()));
  ASSERT_OK(session->finish(soon()));
  worker.join();
  ASSERT_OK(session->reopen());
  EXPECT_TRUE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace ckpt
