/// Child processes: started by vfork and exec, ended with their parent, waited for with a deadline.
#pragma once

#include <sys/types.h>

#include <csignal>
#include <optional>
#include <string>
#include <vector>

#include "base/deadline.h"
#include "ckpt/result.h"
#include "os/abort_signal.h"
#include "os/unique_fd.h"

namespace ckpt {

/// A descriptor that the child finds under the number `child`. All others are closed, since the product opens every one close-on-exec.
struct InheritedFd {
  int parent;
  int child;
};

struct ProcessOptions {
  std::vector<std::string> command;           ///< program and its arguments; a program without a slash is looked up in PATH
  std::vector<std::string> environment = {};  ///< "NAME=value": set in the child, over what it inherits
  std::vector<InheritedFd> fds = {};          ///< for example {log.get(), STDERR_FILENO}
  std::string directory = {};                 ///< working directory; empty: the parent's
  bool own_group = false;                     ///< a process group of its own: Ctrl-C of the terminal does not reach it, and signal_group does
  int death_signal = SIGKILL;  ///< what the child gets when the *thread* that started it ends, at the latest with its process; 0: nothing
};

/// How a process ended.
struct ExitStatus {
  int code = 0;    ///< exit code, when `signal` is 0
  int signal = 0;  ///< the signal that ended it
  [[nodiscard]] bool ok() const { return code == 0 && signal == 0; }
  [[nodiscard]] int shell_code() const { return signal != 0 ? 128 + signal : code; }  ///< as a shell gives it
  [[nodiscard]] std::string to_string() const;                                        ///< "exited with code 3", "was killed by SIGKILL"
};

/// One child. Move-only. Destruction kills and reaps what still runs: nothing is left behind. Threads: one at a time; signal() from any.
class Process {
 public:
  /// not_found (no such program), failed_precondition (not executable), resource_exhausted (no processes or memory left); each names the program.
  [[nodiscard]] static Result<Process> spawn(const ProcessOptions& options);
  Process(Process&& other) noexcept;
  Process& operator=(Process&&) = delete;
  ~Process();

  [[nodiscard]] pid_t pid() const { return pid_; }
  /// Readable (POLLIN) once the process has ended; -1 where the kernel has no pidfd (before 5.3).
  [[nodiscard]] int fd() const { return pidfd_.get(); }
  [[nodiscard]] const std::string& name() const { return name_; }

  /// Reaps it when it has ended. Afterwards returns the same answer.
  [[nodiscard]] Result<std::optional<ExitStatus>> poll();
  /// deadline_exceeded names the process.
  [[nodiscard]] Result<ExitStatus> wait(Deadline deadline, const AbortSignal& abort);
  /// Sends a signal; ok also when the process has ended. signal_group reaches its descendants too (needs own_group).
  [[nodiscard]] Status signal(int number) const;
  [[nodiscard]] Status signal_group(int number) const;

 private:
  Process(pid_t pid, UniqueFd pidfd, std::string name, bool own_group)
      : pid_(pid), pidfd_(std::move(pidfd)), name_(std::move(name)), own_group_(own_group) {}
  pid_t pid_ = -1;
  UniqueFd pidfd_;
  std::string name_;
  bool own_group_ = false;
  std::optional<ExitStatus> ended_;
};

/// "SIGKILL", or "signal 77".
[[nodiscard]] std::string signal_name(int number);

/// The running executable, to start it again as another role.
[[nodiscard]] std::string own_executable();

}  // namespace ckpt
