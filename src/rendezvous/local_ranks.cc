#include "rendezvous/local_ranks.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "base/fault_point.h"
#include "base/log.h"
#include "base/options.h"
#include "os/error.h"
#include "os/wait_fd.h"
#include "rendezvous/status_wire.h"

namespace ckpt {
namespace {

constexpr int kOutcomeFd = 3;
constexpr const char* kOutcomeVariable = "CKPT_OUTCOME_FD";
constexpr Duration kLook = std::chrono::milliseconds(5);
constexpr Duration kTermGrace = std::chrono::seconds(3);

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

Result<Pipe> make_pipe() {
  CKPT_FAULT_POINT("sys.pipe");
  int fds[2] = {-1, -1};
  if (::pipe2(fds, O_CLOEXEC) != 0) return errno_status(errno, "make a pipe");
  return Pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

/// All that is in a pipe whose writers are gone. A status is far smaller than a pipe's buffer, so the child never blocked on it.
std::optional<Status> read_outcome(int fd) {
  Bytes bytes;
  std::byte chunk[4096];
  ::fcntl(fd, F_SETFL, O_NONBLOCK);  // a grandchild may still hold the other end
  for (ssize_t got = ::read(fd, chunk, sizeof chunk); got > 0; got = ::read(fd, chunk, sizeof chunk)) bytes.insert(bytes.end(), chunk, chunk + got);
  if (bytes.empty()) return std::nullopt;
  return decode_status(std::span(bytes).subspan(1));
}

}  // namespace

Result<LocalRanks> LocalRanks::start(const LocalRanksOptions& options) {
  LocalRanks ranks;
  for (std::uint32_t local = 0; local < options.num_local; ++local) {
    ProcessOptions process;
    process.command = options.command;
    process.environment = {fmt::format("RANK={}", options.first_rank + local),
                           fmt::format("WORLD_SIZE={}", options.num_ranks),
                           fmt::format("LOCAL_RANK={}", local),
                           fmt::format("LOCAL_WORLD_SIZE={}", options.num_local),
                           fmt::format("CKPT_STORE_ADDRESS={}:{}", options.store.host, options.store.port),
                           "CKPT_STORE_TOKEN=" + options.token};
    process.own_group = true;  // Ctrl-C reaches this process, which then tells them
    Pipe pipe;
    if (options.collect_outcomes) {
      CKPT_ASSIGN_OR_RETURN(pipe, make_pipe());
      process.fds.push_back({pipe.write.get(), kOutcomeFd});
      process.environment.push_back(fmt::format("{}={}", kOutcomeVariable, kOutcomeFd));
    }
    Result<Process> child = Process::spawn(process);
    if (!child.ok()) return child.status().with_note("start rank {}", options.first_rank + local);
    ranks.children_.push_back({std::move(child).value(), std::move(pipe.read)});
  }
  return ranks;
}

std::size_t LocalRanks::running() {
  std::size_t count = 0;
  for (Child& child : children_) {
    const auto ended = child.process.poll();
    if (ended.ok() && !ended->has_value()) ++count;
  }
  return count;
}

bool LocalRanks::any_failed() {
  for (Child& child : children_) {
    const auto ended = child.process.poll();
    if (!ended.ok() || (ended->has_value() && !(**ended).ok())) return true;
  }
  return false;
}

void LocalRanks::signal_all(int number) {
  for (Child& child : children_) {
    static_cast<void>(child.process.signal_group(number));
    static_cast<void>(child.process.signal_group(SIGCONT));  // a stopped one must run to end
  }
}

std::vector<RankEnd> LocalRanks::wait(Deadline deadline, Duration grace, const AbortSignal& abort) {
  const AbortSignal never;
  while (running() > 0 && !any_failed() && !abort.triggered() && !deadline.passed()) static_cast<void>(pause_for(kLook, abort));
  if (any_failed() && !abort.triggered())
    for (const Deadline end = deadline.capped(grace); running() > 0 && !end.passed() && !abort.triggered();)
      static_cast<void>(pause_for(kLook, abort));
  if (running() > 0) {
    signal_all(SIGTERM);
    for (const Deadline end = Deadline::after(kTermGrace); running() > 0 && !end.passed();) static_cast<void>(pause_for(kLook, never));
  }
  signal_all(SIGKILL);
  std::vector<RankEnd> ends;
  for (Child& child : children_) {
    const Result<ExitStatus> exit = child.process.wait(Deadline::after(kTermGrace), never);
    ends.push_back({exit.ok() ? *exit : ExitStatus{0, SIGKILL}, child.outcome.valid() ? read_outcome(child.outcome.get()) : std::nullopt});
  }
  return ends;
}

bool has_outcome_pipe() { return environment(kOutcomeVariable).has_value(); }

bool tell_outcome(const Status& status) {
  if (!has_outcome_pipe()) return false;
  Bytes bytes{std::byte{1}};  // so that ok, which has no bytes, is told too
  const Bytes encoded = encode_status(status);
  bytes.insert(bytes.end(), encoded.begin(), encoded.end());
  return ::write(kOutcomeFd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size());
}

Status job_status(const std::vector<RankEnd>& ends, std::uint32_t first_rank) {
  for (const RankEnd& end : ends)
    if (end.told && !end.told->ok()) return *end.told;
  for (std::uint32_t i = 0; i < ends.size(); ++i)
    if (!ends[i].exit.ok())
      return Status(StatusCode::unavailable, Scope::process, "the process {}", ends[i].exit.to_string()).at_rank(static_cast<int>(first_rank + i));
  return Status::success();
}

}  // namespace ckpt
