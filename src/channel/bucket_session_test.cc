// Sessions with scripted workers of the older dialects over real libzmq; native ones are in receiver/receiver_test.cc.
#include "channel/bucket_session.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <thread>

#include "base/bytes.h"
#include "channel/pickle_writer.h"
#include "channel/runtime_dir.h"
#include "channel/zmq_socket.h"
#include "support/matchers.h"
#include "support/temporary_directory.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using testing::Is;
using testing::TemporaryDirectory;

Deadline soon() { return Deadline::after(std::chrono::seconds(20)); }

/// What a scripted worker answers, message by message; it leaves after the last one.
struct Script {
  std::vector<std::string> answers;
  std::vector<std::string> heard;
  Status ended;
  void run(const std::string& address) {
    const AbortSignal never;
    auto socket = ZmqSocket::open(ZmqSocket::Role::reply_and_connect, address, {}).value();
    for (const std::string& answer : answers) {
      Result<std::string> message = socket->receive(1 << 20, soon(), never, "message");
      ended = message.status();
      if (!message.ok()) return;
      heard.push_back(*message);
      ended = socket->send(answer, soon(), never, "answer");
    }
  }
};

class DialectTest : public ::testing::Test {
 protected:
  std::unique_ptr<BucketSession> open(Dialect dialect) {
    SessionOptions options;
    options.socket_dir = dir_ / "sockets";
    options.journal_dir = dir_ / "journal";
    options.worker_key = "GPU-test";
    options.dialect = dialect;
    return open_session(options, abort_).value();
  }
  static ExportedBuffer gpu_buffer() { return {std::string(64, 'h'), -1, 1 << 20}; }

  TemporaryDirectory dir_;
  AbortSignal abort_;
};

TEST_F(DialectTest, AWorkerOfDialectOneIsFoundOutByItsLeaving) {
  const auto session = open(Dialect::automatic);
  Script script{{"", "", ""}, {}, {}};
  std::thread worker([&] { script.run(session->address()); });
  ASSERT_OK(session->connect(gpu_buffer(), soon()));
  ASSERT_OK(session->offer(0, pickle_bucket({}), soon()));
  ASSERT_OK(session->release(soon()));
  EXPECT_EQ(session->dialect(), Dialect::one);
  ASSERT_OK(session->finish(soon()));
  worker.join();
  EXPECT_EQ(script.heard[0], pickle_handle(std::string(64, 'h'), 1 << 20));
  EXPECT_EQ(script.heard[2], pickle_none());
}

TEST_F(DialectTest, AWorkerOfDialectTwoGetsASecondNone) {
  const auto session = open(Dialect::automatic);
  Script script{{"", "", "", ""}, {}, {}};
  std::thread worker([&] { script.run(session->address()); });
  ASSERT_OK(session->connect(gpu_buffer(), soon()));
  ASSERT_OK(session->offer(0, pickle_bucket({}), soon()));
  ASSERT_OK(session->release(soon()));
  EXPECT_EQ(session->dialect(), Dialect::two);
  ASSERT_OK(session->finish(soon()));
  worker.join();
  EXPECT_EQ(script.heard[3], pickle_none());
}

TEST_F(DialectTest, FailureInTheLastBucketIsReportedAndTheWorkerIsAborted) {
  auto session = open(Dialect::two);
  Script script{{"", "CUDA out of memory", ""}, {}, {}};
  std::thread worker([&] { script.run(session->address()); });
  ASSERT_OK(session->connect(gpu_buffer(), soon()));
  EXPECT_THAT(session->offer(0, pickle_bucket({}), soon()),
              Is(StatusCode::remote_error, HasSubstr("bucket 0: the worker answered: CUDA out of memory")));
  session.reset();
  worker.join();
  ASSERT_EQ(script.heard.size(), 3u);
  EXPECT_THAT(script.heard[2], HasSubstr("RuntimeError"));
}

TEST_F(DialectTest, AWorkerThatGoesInTheMiddleIsUnavailableAtOnce) {
  const auto session = open(Dialect::two);
  Script script{{""}, {}, {}};
  std::thread worker([&] { script.run(session->address()); });
  ASSERT_OK(session->connect(gpu_buffer(), soon()));
  worker.join();
  EXPECT_THAT(session->offer(0, pickle_bucket({}), soon()), Is(StatusCode::unavailable, HasSubstr("disconnected")));
}

TEST_F(DialectTest, ASilentWorkerEndsAtTheDeadline) {
  const auto session = open(Dialect::two);
  std::thread worker([&] {
    const AbortSignal never;
    auto socket = ZmqSocket::open(ZmqSocket::Role::reply_and_connect, session->address(), {}).value();
    static_cast<void>(socket->receive(1 << 20, soon(), never, "message"));
    static_cast<void>(socket->peer_leaves_within(std::chrono::milliseconds(300)));
  });
  EXPECT_THAT(session->connect(gpu_buffer(), Deadline::after(std::chrono::milliseconds(100))), Is(StatusCode::deadline_exceeded));
  worker.join();
}

TEST_F(DialectTest, AWorkerOfADeadSenderIsFreedByTheNextOne) {
  // The sender is a child process that is killed in the middle of its session.
  int fds[2] = {-1, -1};
  ASSERT_EQ(::pipe2(fds, O_CLOEXEC), 0);
  const pid_t sender = ::fork();
  if (sender == 0) {
    const auto session = open(Dialect::two);
    static_cast<void>(!::write(fds[1], session->address().data(), session->address().size()));
    static_cast<void>(session->connect(gpu_buffer(), soon()));
    ::pause();
  }
  char address[256] = {};
  ASSERT_GT(::read(fds[0], address, sizeof address - 1), 0);
  Script script{{"", ""}, {}, {}};
  std::thread worker([&] {
    const AbortSignal never;
    auto socket = ZmqSocket::open(ZmqSocket::Role::reply_and_connect, address, {}).value();
    script.heard.push_back(socket->receive(1 << 20, soon(), never, "handle").value());
    static_cast<void>(socket->send("", soon(), never, "answer"));
    ::kill(sender, SIGKILL);
    // A worker of the field knows nothing of disconnects: it waits on.
    for (const Deadline end = soon(); !end.passed();) {
      Result<std::string> message = socket->receive(1 << 20, soon(), never, "abort");
      if (!message.ok()) continue;
      script.heard.push_back(*message);
      return;
    }
  });
  int status = 0;
  ASSERT_EQ(::waitpid(sender, &status, 0), sender);
  const auto freed = recover_sessions(dir_ / "journal", soon());
  ASSERT_OK(freed);
  EXPECT_EQ(*freed, 1);
  worker.join();
  ASSERT_EQ(script.heard.size(), 2u);
  EXPECT_THAT(script.heard[1], HasSubstr("the parameter server died"));
  EXPECT_TRUE(std::filesystem::is_empty(dir_ / "journal"));
  ::close(fds[0]);
  ::close(fds[1]);
}

TEST_F(DialectTest, SessionsWhoseOwnerLivesAreLeftAlone) {
  const auto session = open(Dialect::two);
  EXPECT_EQ(*recover_sessions(dir_ / "journal", soon()), 0);
  EXPECT_FALSE(std::filesystem::is_empty(dir_ / "journal"));
}

TEST(RuntimeDir, MustBePrivate) {
  const TemporaryDirectory dir;
  ASSERT_OK(make_private_dir(dir / "a/b"));
  ASSERT_EQ(::chmod((dir / "a/b").c_str(), 0755), 0);
  EXPECT_THAT(make_private_dir(dir / "a/b"), Is(StatusCode::failed_precondition, HasSubstr("would not be private")));
  dir.write("file", "x");
  EXPECT_THAT(make_private_dir(dir / "file"), Is(StatusCode::failed_precondition));
}

TEST(Session, PathsThatAreTooLongAreRefused) {
  const TemporaryDirectory dir;
  const AbortSignal abort;
  SessionOptions options;
  options.socket_dir = dir / std::string(80, 'x');
  options.journal_dir = dir / "journal";
  EXPECT_THAT(open_session(options, abort), Is(StatusCode::invalid_argument, HasSubstr("107 bytes")));
}

}  // namespace
}  // namespace ckpt
