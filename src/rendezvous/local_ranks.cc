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
    if (options.master) {
      process.environment.push_back("MASTER_ADDR=" + options.master->host);
      process.environment.push_back(fmt::format("MASTER_PORT={}", options.master->port));
    }
    std::vector<UniqueFd> output_ends;
    if (options.label_output) CKPT_RETURN_IF_ERROR(ranks.give_output(options.first_rank + local, process, output_ends));
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
  if (ranks.output_) CKPT_RETURN_IF_ERROR(ranks.output_->start());
  return ranks;
}

Status LocalRanks::give_output(std::uint32_t rank, ProcessOptions& process, std::vector<UniqueFd>& ends) {
  if (!output_) output_ = std::make_unique<RankOutput>();
  for (const int target : {STDOUT_FILENO, STDERR_FILENO}) {
    CKPT_ASSIGN_OR_RETURN(UniqueFd end, output_->add(rank, target));
    process.fds.push_back({end.get(), target});
    ends.push_back(std::move(end));
  }
  return Status::success();
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
  for (std::size_t i = 0; i < children_.size() && !failed_first_; ++i) {
    const auto ended = children_[i].process.poll();
    if (!ended.ok() || (ended->has_value() && !(**ended).ok())) failed_first_ = i;
  }
  return failed_first_.has_value();
}

void LocalRanks::wait_for_change(Deadline deadline, const AbortSignal& abort) {
  std::vector<pollfd> entries{{abort.fd(), POLLIN, 0}};
  bool all_have_fds = true;
  for (Child& child : children_)
    if (const auto ended = child.process.poll(); ended.ok() && !ended->has_value()) {
      entries.push_back({child.process.fd(), POLLIN, 0});
      all_have_fds = all_have_fds && child.process.fd() >= 0;
    }
  const int limit_ms = all_have_fds ? deadline.poll_ms() : deadline.capped(kLook).poll_ms();  // no pidfd before Linux 5.3: look often
  if (entries.size() > 1) ::poll(entries.data(), entries.size(), limit_ms);
}

void LocalRanks::signal_all(int number) {
  for (Child& child : children_) {
    static_cast<void>(child.process.signal_group(number));
    static_cast<void>(child.process.signal_group(SIGCONT));  // a stopped one must run to end
  }
}

std::vector<RankEnd> LocalRanks::wait(Deadline deadline, Duration grace, const AbortSignal& abort, const InterruptSignals* signals) {
  const AbortSignal never;
  while (!any_failed() && running() > 0 && !abort.triggered() && !deadline.passed()) wait_for_change(deadline, abort);
  if (any_failed())
    for (const Deadline end = deadline.capped(grace); running() > 0 && !end.passed() && !abort.triggered();) wait_for_change(end, abort);
  if (running() > 0) {
    signal_all(signals != nullptr && signals->received() != 0 ? signals->received() : SIGTERM);
    for (const Deadline end = Deadline::after(kTermGrace); running() > 0 && !end.passed();) wait_for_change(end, never);
  }
  signal_all(SIGKILL);
  std::vector<RankEnd> ends;
  for (std::size_t i = 0; i < children_.size(); ++i) {
    const Result<ExitStatus> exit = children_[i].process.wait(Deadline::after(kTermGrace), never);
    ends.push_back({exit.ok() ? *exit : ExitStatus{0, SIGKILL},
                    children_[i].outcome.valid() ? read_outcome(children_[i].outcome.get()) : std::nullopt, failed_first_ == i});
  }
  output_.reset();  // what the ranks said stands before what is said about them
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

std::optional<FirstFailure> first_failure(const std::vector<RankEnd>& ends, std::uint32_t first_rank) {
  for (std::uint32_t i = 0; i < ends.size(); ++i) {
    if (!ends[i].failed_first) continue;
    const std::uint32_t rank = first_rank + i;
    if (ends[i].told && !ends[i].told->ok()) return FirstFailure{rank, ends[i].exit, *ends[i].told};
    const Status status(StatusCode::remote_error, Scope::process, "it failed first: its process {}", ends[i].exit.to_string());
    return FirstFailure{rank, ends[i].exit, status.at_rank(static_cast<int>(rank))};
  }
  return std::nullopt;
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
