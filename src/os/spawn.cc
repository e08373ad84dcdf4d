#include "os/spawn.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>

#include "base/fault_point.h"
#include "base/options.h"
#include "os/error.h"

extern char** environ;  // handed on to the child, never read here

namespace ckpt {
namespace {

/// Everything the child needs, made before vfork: the child shares the parent's memory and must not allocate.
struct ChildPlan {
  const char* program;
  char* const* arguments;
  char* const* environment;
  const char* directory;  // or null
  const InheritedFd* fds;
  int* copies;  // room for one number per entry of `fds`
  std::size_t num_fds;
  int lowest_free_fd;  // above every target
  int error_fd;
  int death_signal;
  pid_t parent;
  bool own_group;
};

/// What the child writes when a step before or in exec fails.
struct ChildError {
  int error;
  char step;
};

[[noreturn]] void fail_child(int error_fd, char step) {
  const ChildError error{errno, step};
  static_cast<void>(!::write(error_fd, &error, sizeof error));
  ::_exit(127);
}

void reset_signals() {
  struct sigaction by_default {};
  by_default.sa_handler = SIG_DFL;
  for (int number = 1; number < NSIG; ++number) ::sigaction(number, &by_default, nullptr);  // fails for SIGKILL and SIGSTOP, which need nothing
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

/// First out of the way of all targets, then to their places: a source may be another entry's target.
int place_fds(const ChildPlan& plan) {
  const int error_fd = ::fcntl(plan.error_fd, F_DUPFD_CLOEXEC, plan.lowest_free_fd);
  if (error_fd < 0) fail_child(plan.error_fd, 'd');
  for (std::size_t i = 0; i < plan.num_fds; ++i)
    if ((plan.copies[i] = ::fcntl(plan.fds[i].parent, F_DUPFD_CLOEXEC, plan.lowest_free_fd)) < 0) fail_child(error_fd, 'd');
  for (std::size_t i = 0; i < plan.num_fds; ++i)
    if (::dup2(plan.copies[i], plan.fds[i].child) < 0) fail_child(error_fd, 'd');
  return error_fd;
}

/// Runs in the child, between vfork and exec: async-signal-safe calls only.
[[noreturn]] void run_child(const ChildPlan& plan) {
  if (plan.death_signal != 0) {
    if (::prctl(PR_SET_PDEATHSIG, plan.death_signal) != 0) fail_child(plan.error_fd, 'p');
    if (::getppid() != plan.parent) ::_exit(127);  // it died before the request: nobody would send the signal
  }
  if (plan.own_group && ::setpgid(0, 0) != 0) fail_child(plan.error_fd, 'g');
  const int error_fd = place_fds(plan);
  if (plan.directory != nullptr && ::chdir(plan.directory) != 0) fail_child(error_fd, 'c');
  reset_signals();
  ::execve(plan.program, plan.arguments, plan.environment);
  fail_child(error_fd, 'e');
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> list;
  for (std::string& text : texts) list.push_back(text.data());
  list.push_back(nullptr);
  return list;
}

std::vector<std::string> merged_environment(const std::vector<std::string>& changes) {
  const auto name_of = [](std::string_view entry) { return entry.substr(0, entry.find('=')); };
  std::vector<std::string> result(changes);
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry)
    if (std::none_of(changes.begin(), changes.end(), [&](const std::string& change) { return name_of(change) == name_of(*entry); }))
      result.emplace_back(*entry);
  return result;
}

Result<std::string> find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) return name;
  const std::string path = environment("PATH").value_or("/usr/local/bin:/usr/bin:/bin");
  for (std::size_t begin = 0; begin <= path.size() && !name.empty();) {
    const std::size_t end = std::min(path.find(':', begin), path.size());
    const std::string candidate = path.substr(begin, end - begin) + "/" + name;
    if (end > begin && ::access(candidate.c_str(), X_OK) == 0) return candidate;
    begin = end + 1;
  }
  return Status(StatusCode::not_found, Scope::operation, "start {}: there is no such program in PATH ({})", name, path);
}

/// vfork with all signals blocked, so that no handler runs in the child on the parent's memory.
/// Own frame, no locals that live across it: the child runs on the parent's stack.
[[gnu::noinline]] pid_t vfork_child(const ChildPlan& plan) {
  const pid_t pid = ::vfork();  // NOLINT(clang-analyzer-security.insecureAPI.vfork): see spawn.h
  if (pid == 0) run_child(plan);
  return pid;
}

Status step_failed(const ChildError& error, const ProcessOptions& options) {
  const std::string program = options.command[0];
  switch (error.step) {
    case 'p': return errno_status(error.error, fmt::format("start {}: set its death signal", program));
    case 'g': return errno_status(error.error, fmt::format("start {}: make its process group", program));
    case 'd': return errno_status(error.error, fmt::format("start {}: hand over descriptors", program));
    case 'c': return errno_status(error.error, fmt::format("start {}: change to directory {}", program, options.directory));
    default: return errno_status(error.error, fmt::format("start {}", program));
  }
}

}  // namespace

Result<pid_t> vfork_and_exec(const ProcessOptions& options) {
  if (options.command.empty()) return Status(StatusCode::invalid_argument, Scope::operation, "start a process: no program is given");
  CKPT_ASSIGN_OR_RETURN(const std::string program, find_program(options.command[0]));
  std::vector<std::string> arguments = options.command;
  std::vector<std::string> variables = merged_environment(options.environment);
  const std::vector<char*> argument_list = pointers(arguments);
  const std::vector<char*> variable_list = pointers(variables);
  std::vector<int> copies(options.fds.size());
  int lowest_free_fd = 3;
  for (const InheritedFd& entry : options.fds) lowest_free_fd = std::max(lowest_free_fd, entry.child + 1);

  int ends[2];
  CKPT_FAULT_POINT("sys.pipe");
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_status(errno, "start " + program);
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  const ChildPlan plan{
      program.c_str(),    argument_list.data(), variable_list.data(), options.directory.empty() ? nullptr : options.directory.c_str(),
      options.fds.data(), copies.data(),        options.fds.size(),   lowest_free_fd,
      write_end.get(),    options.death_signal, ::getpid(),           options.own_group};
  CKPT_FAULT_POINT("sys.fork");
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid = vfork_child(plan);
  const int fork_error = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) return errno_status(fork_error, "start " + program);

  write_end.reset();
  ChildError error{};
  ssize_t size = 0;
  while ((size = ::read(read_end.get(), &error, sizeof error)) < 0 && errno == EINTR) {
  }
  if (size == 0) return pid;  // closed by exec
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (size != sizeof error) return Status(StatusCode::internal, Scope::operation, "start {}: the child ended before exec", program);
  return step_failed(error, options);
}

}  // namespace ckpt
