#include "os/process.h"

#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/fault_point.h"
#include "os/error.h"
#include "os/spawn.h"
#include "os/wait_fd.h"

namespace ckpt {
namespace {

constexpr Duration kPollInterval = std::chrono::milliseconds(5);  // only where there is no pidfd

UniqueFd open_pidfd(pid_t pid) { return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))); }

ExitStatus from_siginfo(const siginfo_t& info) {
  if (info.si_code == CLD_EXITED) return {info.si_status, 0};
  return {0, info.si_status};
}

}  // namespace

std::string signal_name(int number) {
  const char* name = ::sigabbrev_np(number);
  return name != nullptr ? fmt::format("SIG{}", name) : fmt::format("signal {}", number);
}

std::string own_executable() { return "/proc/self/exe"; }

std::string ExitStatus::to_string() const {
  return signal != 0 ? fmt::format("was killed by {}", signal_name(signal)) : fmt::format("exited with code {}", code);
}

Result<Process> Process::spawn(const ProcessOptions& options) {
  CKPT_ASSIGN_OR_RETURN(const pid_t pid, vfork_and_exec(options));
  std::string name = options.command[0].substr(options.command[0].rfind('/') + 1);
  return Process(pid, open_pidfd(pid), std::move(name), options.own_group);
}

Process::Process(Process&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      pidfd_(std::move(other.pidfd_)),
      name_(std::move(other.name_)),
      own_group_(other.own_group_),
      ended_(other.ended_) {}

Process::~Process() {
  if (pid_ < 0 || ended_) return;
  static_cast<void>(own_group_ ? ::kill(-pid_, SIGKILL) : ::kill(pid_, SIGKILL));
  siginfo_t info{};
  while (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED) != 0 && errno == EINTR) {
  }
}

Result<std::optional<ExitStatus>> Process::poll() {
  if (ended_) return ended_;
  siginfo_t info{};
  CKPT_FAULT_POINT("sys.waitid");
  if (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG) != 0)
    return errno_status(errno, fmt::format("wait for {} (pid {})", name_, pid_));
  if (info.si_pid == pid_) ended_ = from_siginfo(info);
  return ended_;
}

Result<ExitStatus> Process::wait(Deadline deadline, const AbortSignal& abort) {
  const std::string what = fmt::format("wait for {} (pid {}) to end", name_, pid_);
  while (true) {
    CKPT_ASSIGN_OR_RETURN(const std::optional<ExitStatus> status, poll());
    if (status) return *status;
    if (pidfd_.valid()) {
      CKPT_RETURN_IF_ERROR(wait_until_ready(pidfd_.get(), POLLIN, deadline, abort, what));
    } else {
      CKPT_RETURN_IF_ERROR(deadline.check(what));
      CKPT_RETURN_IF_ERROR(pause_for(std::min(kPollInterval, deadline.remaining()), abort));
    }
  }
}

Status Process::signal(int number) const {
  if (ended_ || ::kill(pid_, number) == 0 || errno == ESRCH) return Status::success();
  return errno_status(errno, fmt::format("send {} to {} (pid {})", signal_name(number), name_, pid_));
}

Status Process::signal_group(int number) const {
  if (!own_group_) return {StatusCode::failed_precondition, Scope::operation, "{} (pid {}) has no process group of its own", name_, pid_};
  if (::kill(-pid_, number) == 0 || errno == ESRCH) return Status::success();
  return errno_status(errno, fmt::format("send {} to the group of {} (pid {})", signal_name(number), name_, pid_));
}

}  // namespace ckpt
