// Sessions with scripted workers of the older dialects over real libzmq; native ones are in receiver/receiver_test.cc.
#include "channel/bucket_session.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <future>
#include <thread>

#include "base/bytes.h"
#include "base/recorder.h"
#include "channel/native_codec.h"
#include "channel/pickle_writer.h"
#include "channel/runtime_dir.h"
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

/// What a scripted worker answers, message by message; it leaves after the last one.
struct Script {
  std::vector<std::string> answers;
  std::vector<std::string> heard;
  Status ended;
  bool stay = false;  // until the sender has gone
  Duration patience = std::chrono::seconds(20);
  void run(const std::string& address) {
    const AbortSignal never;
    auto socket = ZmqSocket::open(ZmqSocket::Role::reply_and_connect, address, {}).value();
    for (const std::string& answer : answers) {
      Result<std::string> message = socket->receive(1 << 20, Deadline::after(patience), never, "message");
      ended = message.status();
      if (!message.ok()) return;
      heard.push_back(*message);
      ended = socket->send(answer, soon(), never, "answer");
    }
    if (stay) static_cast<void>(socket->peer_leaves_within(patience));
  }
};

class DialectTest : public ::testing::Test {
 protected:
  std::unique_ptr<BucketSession> open(Dialect dialect) {
    options_.dialect = dialect;
    return open_session(options_, abort_).value();
  }
  static ExportedBuffer gpu_buffer() { return {std::string(64, 'h'), -1, 1 << 20}; }

  TemporaryDirectory dir_;
  AbortSignal abort_;
  SessionOptions options_{dir_ / "sockets", dir_ / "journal", "GPU-test"};
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
  EXPECT_EQ(session->dialect(), Dialect::automatic);  // it may also be slow to leave
  ASSERT_OK(session->finish(soon()));
  EXPECT_EQ(session->dialect(), Dialect::two);
  worker.join();
  EXPECT_EQ(script.heard[3], pickle_none());
}

/// How often a session has waited to find out the dialect.
std::size_t probes() {
  const std::vector<Event> events = EventRecorder::global().events();
  return static_cast<std::size_t>(
      std::count_if(events.begin(), events.end(), [](const Event& event) { return std::string_view(event.what) == "find out the dialect"; }));
}

TEST_F(DialectTest, AWorkerKnownForDialectTwoIsNotWaitedFor) {
  options_.expected = Dialect::two;
  const auto session = open(Dialect::automatic);
  const std::size_t before = probes();
  Script script{{"", "", "", ""}, {}, {}};
  std::thread worker([&] { script.run(session->address()); });
  ASSERT_OK(session->connect(gpu_buffer(), soon()));
  ASSERT_OK(session->offer(0, pickle_bucket({}), soon()));
  ASSERT_OK(session->release(soon()));
  EXPECT_EQ(probes(), before);
  ASSERT_OK(session->finish(soon()));
  EXPECT_EQ(session->dialect(), Dialect::two);
  worker.join();
  EXPECT_EQ(script.heard[3], pickle_none());
}

TEST_F(DialectTest, AHintThatIsWrongCostsNothing) {
  for (const bool gone_before_finish : {false, true}) {
    options_.expected = Dialect::two;
    const auto session = open(Dialect::automatic);
    Script script{{"", ""}, {}, {}};  // of dialect 1
    std::thread worker([&] { script.run(session->address()); });
    ASSERT_OK(session->connect(gpu_buffer(), soon()));
    ASSERT_OK(session->release(soon()));
    if (gone_before_finish) worker.join();
    ASSERT_OK(session->finish(soon()));
    EXPECT_EQ(session->dialect(), Dialect::one);
    if (!gone_before_finish) worker.join();
  }
  options_.expected = Dialect::one;
  const auto session = open(Dialect::automatic);
  Script script{{"", "", ""}, {}, {}};  // of dialect 2
  std::thread worker([&] { script.run(session->address()); });
  ASSERT_OK(session->connect(gpu_buffer(), soon()));
  ASSERT_OK(session->release(soon()));
  ASSERT_OK(session->finish(soon()));
  EXPECT_EQ(session->dialect(), Dialect::two);
  worker.join();
}

TEST_F(DialectTest, AWorkerAtTheSecondAddressIsServedNatively) {
  for (const std::string& directory : {dir_ / "sockets", std::string("abstract")}) {
    options_.socket_dir = directory;
    auto session = open(Dialect::automatic);
    Script script{{"", "", "", ""}, {}, {}};
    std::thread worker([&] { script.run(session->address() + ".native"); });
    ASSERT_OK(session->connect(gpu_buffer(), soon()));
    EXPECT_EQ(session->dialect(), Dialect::native);
    ASSERT_OK(session->offer(0, encode_bucket(Dialect::native, 0, {}, {}), soon()));
    ASSERT_OK(session->release(soon()));
    ASSERT_OK(session->finish(soon()));
    worker.join();
    EXPECT_EQ(script.heard[0], encode_native_handle({"", 1 << 20, "GPU-test", std::string(64, 'h')}));
    EXPECT_EQ(script.heard[2], encode_native_release());
    EXPECT_EQ(script.heard[3], encode_native_finish());
    session.reset();
    EXPECT_TRUE(std::filesystem::is_empty(dir_ / "journal"));
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir_ / "sockets"));
}

TEST_F(DialectTest, OneThatComesAgainMayBeOfTheOtherKind) {
  const auto session = open(Dialect::automatic);
  for (const bool native : {true, false, true}) {
    Script script{{"", "", ""}, {}, {}};
    std::thread worker([&] { script.run(session->address() + (native ? ".native" : "")); });
    ASSERT_OK(session->connect(gpu_buffer(), soon()));
    EXPECT_FALSE(std::filesystem::exists(session->address().substr(6)));
    EXPECT_FALSE(std::filesystem::exists(session->address().substr(6) + ".native"));
    ASSERT_OK(session->release(soon()));
    ASSERT_OK(session->finish(soon()));
    EXPECT_EQ(session->dialect() == Dialect::native, native);
    worker.join();
    ASSERT_OK(session->reopen());
  }
}

TEST_F(DialectTest, HostMemoryIsForNativeWorkersOnly) {
  auto session = open(Dialect::automatic);
  Script script{{"no handle", ""}, {}, {}};
  std::thread worker([&] { script.run(session->address()); });
  EXPECT_THAT(session->connect({"", 0, 1 << 20}, soon()),
              Is(StatusCode::unsupported, ::testing::AllOf(HasSubstr("worker GPU-test"), HasSubstr("install ckpt-engine in the engine"))));
  session.reset();
  worker.join();
  EXPECT_THAT(script.heard[0], HasSubstr("RuntimeError"));
}

TEST_F(DialectTest, AKnownDialectHasOneAddress) {
  for (const Dialect dialect : {Dialect::one, Dialect::two, Dialect::native}) {
    const auto session = open(dialect);
    EXPECT_TRUE(std::filesystem::exists(session->address().substr(6)));
    EXPECT_FALSE(std::filesystem::exists(session->address().substr(6) + ".native"));
  }
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

TEST_F(DialectTest, AWorkerOfDialectOneMayTakeItsTimeToLeave) {
  for (const Dialect dialect : {Dialect::automatic, Dialect::two}) {
    const auto session = open(dialect);
    std::promise<void> released;
    std::thread worker([&] {
      const AbortSignal never;
      auto socket = ZmqSocket::open(ZmqSocket::Role::reply_and_connect, session->address(), {}).value();
      for (int message = 0; message < 2; ++message) {
        ASSERT_OK(socket->receive(1 << 20, soon(), never, "message"));
        ASSERT_OK(socket->send("", soon(), never, "answer"));
      }
      released.get_future().wait();
    });
    ASSERT_OK(session->connect(gpu_buffer(), soon()));
    ASSERT_OK(session->release(soon()));  // waits for it to leave, in vain
    released.set_value();
    const Status finished = session->finish(soon());
    worker.join();
    if (dialect == Dialect::automatic) {
      EXPECT_OK(finished);  // the engine's reply decides
      EXPECT_EQ(session->dialect(), Dialect::one);
    } else {
      EXPECT_THAT(finished, Is(StatusCode::unavailable, HasSubstr("finish")));
    }
  }
}

TEST_F(DialectTest, OnlyAnswersToBucketsAreBoundByTheAckTimeout) {
  options_.ack_timeout = std::chrono::milliseconds(150);
  const auto session = open(Dialect::one);
  std::thread worker([&] {
    const AbortSignal never;
    auto socket = ZmqSocket::open(ZmqSocket::Role::reply_and_connect, session->address(), {}).value();
    for (int message = 0; message < 3; ++message) {
      ASSERT_OK(socket->receive(1 << 20, soon(), never, "message"));
      ASSERT_OK(pause_for(std::chrono::milliseconds(message == 1 ? 0 : 300), never));  // maps the buffer, loads, runs its hook
      ASSERT_OK(socket->send("", soon(), never, "answer"));
    }
  });
  EXPECT_OK(session->connect(gpu_buffer(), soon()));
  EXPECT_OK(session->offer(0, pickle_bucket({}), soon()));
  EXPECT_OK(session->release(soon()));
  worker.join();
}

TEST_F(DialectTest, ABucketThatIsNotAnsweredEndsAtTheAckTimeout) {
  options_.ack_timeout = std::chrono::milliseconds(50);
  auto session = open(Dialect::two);
  Script script{{""}, {}, {}};
  script.stay = true;
  std::thread worker([&] { script.run(session->address()); });
  ASSERT_OK(session->connect(gpu_buffer(), soon()));
  EXPECT_THAT(session->offer(0, pickle_bucket({}), soon()), Is(StatusCode::deadline_exceeded, HasSubstr("bucket 0")));
  session.reset();
  worker.join();
}

TEST_F(DialectTest, TheEnginesReplySaysWhyAWorkerLeft) {
  const auto session = open(Dialect::two);
  session->engine_asked();
  Script script{{""}, {}, {}};
  std::thread worker([&] { script.run(session->address()); });
  ASSERT_OK(session->connect(gpu_buffer(), soon()));
  worker.join();
  std::thread reply([this] {  // a moment later, as engines do
    const AbortSignal never;
    EXPECT_OK(pause_for(std::chrono::milliseconds(50), never));
    abort_.trigger({StatusCode::remote_error, Scope::peer, "500: CUDA out of memory"});
  });
  EXPECT_THAT(session->offer(0, pickle_bucket({}), soon()), Is(StatusCode::remote_error, HasSubstr("CUDA out of memory")));
  reply.join();
}

TEST_F(DialectTest, AnswersAreShownAsText) {
  auto session = open(Dialect::two);
  Script script{{"", "Traceback:\n\x1b[2Jbad \xff", ""}, {}, {}};
  std::thread worker([&] { script.run(session->address()); });
  ASSERT_OK(session->connect(gpu_buffer(), soon()));
  EXPECT_THAT(session->offer(0, pickle_bucket({}), soon()),
              Is(StatusCode::remote_error, HasSubstr("bucket 0: the worker answered: Traceback:\n\\x1b[2Jbad \\xff")));
  session.reset();
  worker.join();
}

TEST_F(DialectTest, AbstractNamesAreForThisUserOnly) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs a second user";
  int fds[2] = {-1, -1};
  ASSERT_EQ(::pipe2(fds, O_CLOEXEC), 0);
  const pid_t stranger = ::fork();  // before there are threads
  if (stranger == 0) {              // connects as nobody, and would take the handle
    char address[256] = {};
    static_cast<void>(!::read(fds[0], address, sizeof address - 1));
    static_cast<void>(!::setuid(65534));
    Script script{{""}, {}, {}};
    script.patience = std::chrono::milliseconds(500);
    script.run(address);
    ::_exit(script.heard.empty() ? 0 : 1);
  }
  options_.socket_dir = "abstract";
  const auto session = open(Dialect::two);
  ASSERT_TRUE(session->address().starts_with("ipc://@"));
  ASSERT_GT(::write(fds[1], session->address().data(), session->address().size()), 0);
  EXPECT_THAT(session->connect(gpu_buffer(), Deadline::after(std::chrono::milliseconds(400))), Is(StatusCode::deadline_exceeded));
  int status = -1;
  ASSERT_EQ(::waitpid(stranger, &status, 0), stranger);
  EXPECT_EQ(status, 0);
  ::close(fds[0]);
  ::close(fds[1]);
  const auto mine = open(Dialect::two);
  Script script{{""}, {}, {}};
  std::thread worker([&] { script.run(mine->address()); });
  EXPECT_OK(mine->connect(gpu_buffer(), soon()));
  worker.join();
}

TEST_F(DialectTest, ARelativeSocketDirectoryIsMadeAbsolute) {
  const std::filesystem::path here = std::filesystem::current_path();
  std::filesystem::current_path(dir_.path());
  options_.socket_dir = "relative/./sockets/";
  const auto session = open(Dialect::two);
  std::filesystem::current_path(here);
  EXPECT_THAT(session->address(), ::testing::StartsWith("ipc://" + dir_ / "relative/sockets/"));
  EXPECT_TRUE(std::filesystem::exists(session->address().substr(6)));
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
