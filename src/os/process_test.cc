#include "os/process.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "os/signals.h"
#include "os/wait_fd.h"
#include "support/matchers.h"

namespace ckpt {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using testing::Is;

class ProcessTest : public ::testing::Test {
 protected:
  /// Runs a shell script to its end; its standard output is in `output_` afterwards.
  ExitStatus shell(const std::string& script, ProcessOptions options = {}) {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const UniqueFd read_end(ends[0]);
    UniqueFd write_end(ends[1]);
    options.command = {"sh", "-c", script};
    options.fds.push_back({write_end.get(), STDOUT_FILENO});
    Result<Process> process = Process::spawn(options);
    EXPECT_OK(process);
    write_end.reset();
    char piece[4096];
    output_.clear();
    for (ssize_t size = 0; (size = ::read(read_end.get(), piece, sizeof piece)) > 0;) output_.append(piece, static_cast<std::size_t>(size));
    const Result<ExitStatus> status = process->wait(deadline_, abort_);
    EXPECT_OK(status);
    return *status;
  }
  AbortSignal abort_;
  Deadline deadline_ = Deadline::after(20s);
  std::string output_;
};

TEST_F(ProcessTest, TellsHowItEnded) {
  EXPECT_TRUE(shell("exit 0").ok());
  EXPECT_EQ(shell("exit 3").to_string(), "exited with code 3");
  const ExitStatus killed = shell("kill -9 $$");
  EXPECT_EQ(killed.to_string(), "was killed by SIGKILL");
  EXPECT_EQ(killed.shell_code(), 137);
}

TEST_F(ProcessTest, GetsItsEnvironmentOverTheInheritedOne) {
  ProcessOptions options;
  options.environment = {"CKPT_TEST_VARIABLE=a=b", "HOME=/elsewhere"};
  shell("echo $CKPT_TEST_VARIABLE $HOME ${PATH:+path}", options);
  EXPECT_EQ(output_, "a=b /elsewhere path\n");
}

TEST_F(ProcessTest, DescriptorsAreHandedOverEvenWhenTheyCross) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  ASSERT_EQ(::write(write_end.get(), "input", 5), 5);
  ProcessOptions options;
  options.fds = {{read_end.get(), write_end.get()}};  // the child's number is another descriptor of the parent
  options.environment = {fmt::format("FD={}", write_end.get()), fmt::format("OTHER={}", read_end.get())};
  shell("head -c 5 /proc/self/fd/$FD; [ -e /proc/$$/fd/$OTHER ] || echo ' alone'", options);
  EXPECT_EQ(output_, "input alone\n");
}

TEST_F(ProcessTest, AMissingProgramIsNotFound) {
  EXPECT_THAT(Process::spawn({.command = {"ckpt-no-such-program"}}), Is(StatusCode::not_found, HasSubstr("ckpt-no-such-program")));
  EXPECT_THAT(Process::spawn({.command = {"/nowhere/program"}}), Is(StatusCode::not_found, HasSubstr("/nowhere/program")));
  EXPECT_THAT(Process::spawn({.command = {"/etc/passwd"}}), Is(StatusCode::failed_precondition, HasSubstr("/etc/passwd")));
  EXPECT_THAT(Process::spawn({.command = {"true"}, .directory = "/nowhere"}), Is(StatusCode::not_found, HasSubstr("directory /nowhere")));
  EXPECT_THAT(Process::spawn({}), Is(StatusCode::invalid_argument));
}

TEST_F(ProcessTest, WaitEndsAtItsDeadlineAndWithTheAbort) {
  Result<Process> process = Process::spawn({.command = {"sleep", "1000"}});
  ASSERT_OK(process);
  EXPECT_THAT(process->wait(Deadline::after(10ms), abort_), Is(StatusCode::deadline_exceeded, HasSubstr("sleep")));
  abort_.trigger({StatusCode::cancelled, Scope::operation, "enough"});
  EXPECT_THAT(process->wait(deadline_, abort_), Is(StatusCode::cancelled));
}

TEST_F(ProcessTest, DestructionLeavesNothingBehind) {
  pid_t pid = 0;
  {
    Result<Process> process = Process::spawn({.command = {"sleep", "1000"}});
    ASSERT_OK(process);
    pid = process->pid();
    EXPECT_EQ(::kill(pid, 0), 0);
  }
  EXPECT_EQ(::kill(pid, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

TEST_F(ProcessTest, AnOwnGroupIsSignalledWithItsDescendants) {
  Result<Process> process = Process::spawn({.command = {"sh", "-c", "sleep 1000 & wait"}, .own_group = true});
  ASSERT_OK(process);
  EXPECT_OK(process->signal_group(SIGTERM));
  const Result<ExitStatus> status = process->wait(deadline_, abort_);
  ASSERT_OK(status);
  EXPECT_EQ(status->signal, SIGTERM);
}

TEST(InterruptSignals, TriggerTheAbort) {
  AbortSignal abort;
  {
    const InterruptSignals signals(abort);
    EXPECT_EQ(signals.received(), 0);
    ::raise(SIGTERM);
    EXPECT_EQ(signals.received(), SIGTERM);
    ::raise(SIGINT);
    EXPECT_EQ(signals.received(), SIGTERM);
  }
  EXPECT_THAT(abort.check(), Is(StatusCode::cancelled, HasSubstr("interrupted")));
  AbortSignal next;
  const InterruptSignals signals(next);
  EXPECT_EQ(signals.received(), 0);
}

}  // namespace
}  // namespace ckpt
