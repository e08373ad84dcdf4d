/// A real process under a test: started, listened to line by line, stopped, killed, waited for. Standard error is the test's own.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "os/process.h"
#include "os/wait_fd.h"
#include "support/matchers.h"

namespace ckpt::testing {

/// How long a test waits for what must happen: generous, since a failure ends it long before.
inline Deadline test_deadline() { return Deadline::after(std::chrono::seconds(60)); }

/// Owns the process: it is killed and reaped when the object ends.
class TestProcess {
 public:
  explicit TestProcess(std::vector<std::string> command, std::vector<std::string> environment = {}, bool own_group = false) {
    int ends[2] = {-1, -1};
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    output_.reset(ends[0]);
    const UniqueFd write_end(ends[1]);
    Result<Process> process = Process::spawn(
        {.command = std::move(command), .environment = std::move(environment), .fds = {{write_end.get(), STDOUT_FILENO}}, .own_group = own_group});
    EXPECT_OK(process);
    if (process.ok()) process_.emplace(std::move(process).value());
  }

  [[nodiscard]] pid_t pid() const { return process_->pid(); }
  void kill() const { signal(SIGKILL); }
  void stop() const { signal(SIGSTOP); }
  void cont() const { signal(SIGCONT); }
  void signal(int number) const { EXPECT_OK(process_->signal(number)); }

  /// The next line of its standard output, without the end of line; nullopt at the end of the output or after test_deadline().
  [[nodiscard]] std::optional<std::string> read_line() {
    const AbortSignal never;
    for (const Deadline deadline = test_deadline();;) {
      if (const std::size_t end = pending_.find('\n'); end != std::string::npos) {
        std::string line = pending_.substr(0, end);
        pending_.erase(0, end + 1);
        return line;
      }
      const Status ready = wait_until_ready(output_.get(), POLLIN, deadline, never, "a line of output");
      EXPECT_OK(ready);
      char buffer[4096];
      const ssize_t got = ready.ok() ? ::read(output_.get(), buffer, sizeof buffer) : 0;
      if (got <= 0) return std::nullopt;
      pending_.append(buffer, static_cast<std::size_t>(got));
    }
  }
  /// All lines that are left, up to the end of the output.
  [[nodiscard]] std::vector<std::string> read_lines() {
    std::vector<std::string> lines;
    while (std::optional<std::string> line = read_line()) lines.push_back(std::move(*line));
    return lines;
  }
  /// How it ended. A failure of the test, and a kill, when it does not end by itself before test_deadline().
  [[nodiscard]] ExitStatus wait() {
    const AbortSignal never;
    const Result<ExitStatus> status = process_->wait(test_deadline(), never);
    EXPECT_OK(status);
    return status.ok() ? *status : ExitStatus{-1, 0};
  }

 private:
  UniqueFd output_;
  std::string pending_;
  std::optional<Process> process_;
};

/// The processes whose parent is `pid`, zombies included.
inline std::vector<pid_t> children_of(pid_t pid) {
  std::vector<pid_t> children;
  std::error_code error;
  for (const auto& thread : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid), error)) {
    std::ifstream file(thread.path() / "children");
    for (pid_t child = 0; file >> child;) children.push_back(child);
  }
  return children;
}
inline std::vector<pid_t> own_children() { return children_of(::getpid()); }

/// Whether a process is there and no zombie.
inline bool process_runs(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string text;
  std::getline(file, text);
  const std::size_t end = text.rfind(')');
  return end != std::string::npos && end + 2 < text.size() && text[end + 2] != 'Z' && text[end + 2] != 'X';
}

/// Waits until `condition` holds; a failure of the test at test_deadline().
template <typename Condition>
void wait_until(std::string_view what, Condition condition) {
  const AbortSignal never;
  for (const Deadline deadline = test_deadline(); !condition();) {
    ASSERT_OK(deadline.check(what));
    ASSERT_OK(pause_for(std::chrono::milliseconds(2), never));
  }
}

}  // namespace ckpt::testing
