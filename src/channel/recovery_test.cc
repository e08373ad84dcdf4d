// Workers that wait for senders that are gone: over real libzmq, with real processes where a process dies.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <future>
#include <thread>

#include "channel/bucket_session.h"
#include "channel/journal.h"
#include "channel/native_codec.h"
#include "channel/pickle_writer.h"
#include "channel/zmq_socket.h"
#include "support/matchers.h"
#include "support/temporary_directory.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using testing::Is;
using testing::soon;
using testing::TemporaryDirectory;

/// A worker of the field knows nothing of disconnects: it waits on, whoever it is that connects at the other end.
std::string hear(ZmqSocket& socket) {
  const AbortSignal never;
  for (const Deadline end = soon(); !end.passed();)
    if (Result<std::string> message = socket.receive(1 << 20, soon(), never, "message"); message.ok()) return *message;
  return "nothing";
}

class RecoveryTest : public ::testing::Test {
 protected:
  std::unique_ptr<BucketSession> open(Dialect dialect) {
    options_.dialect = dialect;
    return open_session(options_, abort_).value();
  }
  static ExportedBuffer gpu_buffer() { return {std::string(64, 'h'), -1, 1 << 20}; }
  std::size_t num_entries() const {
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(dir_ / "journal")) ++count;
    return count;
  }
  /// An entry as a process that died has left it.
  void leave_entry(const JournaledSession& session) { JournalEntry::create(dir_ / "journal", session)->leave(); }
  std::string only_entry() const { return std::filesystem::directory_iterator(dir_ / "journal")->path().string(); }
  void age_entry(std::chrono::seconds age) const {
    std::filesystem::last_write_time(only_entry(), std::filesystem::file_time_type::clock::now() - age);
  }

  TemporaryDirectory dir_;
  AbortSignal abort_;
  SessionOptions options_{dir_ / "sockets", dir_ / "journal", "GPU-test"};
  const std::string nobody_ = "ipc://" + dir_ / "nobody";
};

TEST_F(RecoveryTest, AWorkerOfADeadSenderIsFreedByTheNextOne) {
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
  std::vector<std::string> heard;
  std::thread worker([&] {
    const AbortSignal never;
    auto socket = ZmqSocket::open(ZmqSocket::Role::reply_and_connect, address, {}).value();
    heard.push_back(socket->receive(1 << 20, soon(), never, "handle").value());
    static_cast<void>(socket->send("", soon(), never, "answer"));
    ::kill(sender, SIGKILL);
    heard.push_back(hear(*socket));
  });
  int status = 0;
  ASSERT_EQ(::waitpid(sender, &status, 0), sender);
  const auto freed = recover_sessions(dir_ / "journal", soon());
  ASSERT_OK(freed);
  EXPECT_EQ(*freed, 1);
  worker.join();
  ASSERT_EQ(heard.size(), 2u);
  EXPECT_THAT(heard[1], HasSubstr("the parameter server died"));
  EXPECT_TRUE(std::filesystem::is_empty(dir_ / "journal"));
  ::close(fds[0]);
  ::close(fds[1]);
}

TEST_F(RecoveryTest, SessionsWhoseOwnerLivesAreLeftAlone) {
  const auto session = open(Dialect::two);
  EXPECT_EQ(*recover_sessions(dir_ / "journal", soon()), 0);
  EXPECT_FALSE(std::filesystem::is_empty(dir_ / "journal"));
}

TEST_F(RecoveryTest, AWorkerThatIsBusyWhenTheUpdateFailsIsFreedByTheNextOne) {
  options_.ack_timeout = std::chrono::milliseconds(50);
  auto session = open(Dialect::two);
  session->engine_asked();
  std::promise<void> loaded;
  std::promise<void> alone;
  std::string heard;
  std::thread worker([&] {
    const AbortSignal never;
    auto socket = ZmqSocket::open(ZmqSocket::Role::reply_and_connect, session->address(), {}).value();
    hear(*socket);
    ASSERT_OK(socket->send("", soon(), never, "answer"));
    hear(*socket);               // a bucket
    loaded.get_future().wait();  // load_weights
    EXPECT_TRUE(socket->peer_leaves_within(soon().remaining()));
    alone.set_value();
    ASSERT_OK(socket->wait_for_peer(soon(), never));
    ASSERT_OK(socket->send("", soon(), never, "answer"));  // to nobody: who asked is gone
    heard = hear(*socket);
  });
  ASSERT_OK(session->connect(gpu_buffer(), soon()));
  EXPECT_THAT(session->offer(0, pickle_bucket({}), soon()), Is(StatusCode::deadline_exceeded));
  session.reset();
  ASSERT_EQ(num_entries(), 1u);
  EXPECT_EQ(*recover_sessions(dir_ / "journal", Deadline::after(std::chrono::seconds(1))), 0);  // it is busy still
  ASSERT_EQ(num_entries(), 1u);
  loaded.set_value();
  alone.get_future().wait();  // else it could answer the sender before, and be gone when the next one comes
  EXPECT_EQ(*recover_sessions(dir_ / "journal", soon()), 1);
  worker.join();
  EXPECT_THAT(heard, HasSubstr("the parameter server died"));
  EXPECT_EQ(num_entries(), 0u);
}

TEST_F(RecoveryTest, AWorkerThatComesAfterTheUpdateHasFailedIsFreedByTheNextOne) {
  auto session = open(Dialect::two);
  const std::string address = session->address();
  session->engine_asked();
  session.reset();
  ASSERT_EQ(num_entries(), 1u);
  EXPECT_EQ(*recover_sessions(dir_ / "journal", soon()), 0);  // it has not come yet
  ASSERT_EQ(num_entries(), 1u);
  std::string heard;
  std::thread worker([&] {
    const AbortSignal never;
    auto socket = ZmqSocket::open(ZmqSocket::Role::reply_and_connect, address, {}).value();
    hear(*socket);
    ASSERT_OK(socket->send("AssertionError", soon(), never, "answer"));
    heard = hear(*socket);
  });
  EXPECT_EQ(*recover_sessions(dir_ / "journal", soon()), 1);
  worker.join();
  EXPECT_THAT(heard, HasSubstr("RuntimeError"));
  EXPECT_EQ(num_entries(), 0u);
}

TEST_F(RecoveryTest, AWorkerThatHasComeAndGotNoHandleIsTold) {
  auto session = open(Dialect::two);
  session->engine_asked();
  std::string heard;
  std::promise<void> connected;
  std::thread worker([&] {
    const AbortSignal never;
    auto socket = ZmqSocket::open(ZmqSocket::Role::reply_and_connect, session->address(), {}).value();
    ASSERT_OK(socket->wait_for_peer(soon(), never));
    connected.set_value();
    heard = hear(*socket);  // no handle: it says so, and waits for one more message before it raises
    ASSERT_OK(socket->send("AssertionError", soon(), never, "answer"));
    heard = hear(*socket);
  });
  connected.get_future().wait();
  session.reset();
  if (num_entries() == 1) {  // the handshake was not done at our end
    EXPECT_EQ(*recover_sessions(dir_ / "journal", soon()), 1);
  }
  worker.join();
  EXPECT_THAT(heard, HasSubstr("RuntimeError"));
  EXPECT_EQ(num_entries(), 0u);
}

TEST_F(RecoveryTest, WhoseEngineWasNeverAskedLeavesNothing) {
  open(Dialect::two).reset();
  EXPECT_EQ(num_entries(), 0u);
  leave_entry({nobody_, "GPU-test", false, false});  // its process died
  EXPECT_EQ(*recover_sessions(dir_ / "journal", soon()), 0);
  EXPECT_EQ(num_entries(), 0u);
}

TEST_F(RecoveryTest, NativeWorkersSeeForThemselves) {
  auto session = open(Dialect::native);
  session->engine_asked();
  session.reset();
  EXPECT_EQ(num_entries(), 0u);
  leave_entry({nobody_, "HOST-test", true, true});
  EXPECT_EQ(*recover_sessions(dir_ / "journal", soon()), 0);
  EXPECT_EQ(num_entries(), 0u);
}

TEST_F(RecoveryTest, SoDoNativeWorkersOfASenderForBothKinds) {
  auto entry = JournalEntry::create(dir_ / "journal", {nobody_, "GPU-test", false, true});
  ASSERT_OK(entry);
  entry->mark_native();
  entry->leave();
  dir_.write("nobody.native", "");
  EXPECT_EQ(*recover_sessions(dir_ / "journal", Deadline::after(std::chrono::milliseconds(0))), 0);  // the entry stays locked: it lives
  EXPECT_EQ(num_entries(), 1u);
  { const auto ended = std::move(*entry); }
  EXPECT_EQ(*recover_sessions(dir_ / "journal", soon()), 0);
  EXPECT_EQ(num_entries(), 0u);
  EXPECT_FALSE(std::filesystem::exists(dir_ / "nobody.native"));
}

TEST_F(RecoveryTest, EntriesThatCannotBeServedAreKeptForTwoHours) {
  leave_entry({"ipc://" + dir_ / "no/such/folder", "GPU-test", false, true});
  age_entry(std::chrono::hours(1));
  EXPECT_EQ(*recover_sessions(dir_ / "journal", soon()), 0);
  EXPECT_EQ(num_entries(), 1u);
  age_entry(std::chrono::hours(3));
  EXPECT_EQ(*recover_sessions(dir_ / "journal", soon()), 0);
  EXPECT_EQ(num_entries(), 0u);
}

TEST_F(RecoveryTest, AWorkerThatHasBeenThereComesAgainAtOnceOrNever) {
  leave_entry({nobody_, "GPU-test", false, true, true});
  EXPECT_EQ(*recover_sessions(dir_ / "journal", soon()), 0);
  EXPECT_EQ(num_entries(), 1u);
  age_entry(std::chrono::minutes(2));
  EXPECT_EQ(*recover_sessions(dir_ / "journal", soon()), 0);
  EXPECT_EQ(num_entries(), 0u);
}

TEST_F(RecoveryTest, UnfinishedFilesAreNotEntries) {
  ASSERT_OK(JournalEntry::create(dir_ / "journal", {nobody_, "GPU-test", false, true}));  // makes the directory, and goes
  dir_.write("journal/x.session.new", "half");
  EXPECT_EQ(*recover_sessions(dir_ / "journal", soon()), 0);
  EXPECT_EQ(num_entries(), 1u);  // another process may be about to write it
  age_entry(std::chrono::hours(1));
  EXPECT_EQ(*recover_sessions(dir_ / "journal", soon()), 0);
  EXPECT_EQ(num_entries(), 0u);
}

TEST_F(RecoveryTest, EntriesThatCannotBeReadAreRemoved) {
  ASSERT_OK(JournalEntry::create(dir_ / "journal", {nobody_, "GPU-test", false, true}));
  dir_.write("journal/x.session", "something else");
  EXPECT_EQ(*recover_sessions(dir_ / "journal", soon()), 0);
  EXPECT_EQ(num_entries(), 0u);
}

}  // namespace
}  // namespace ckpt
