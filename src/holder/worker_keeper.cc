#include "holder/worker_keeper.h"

#include <algorithm>
#include <csignal>
#include <sstream>

#include "base/log.h"
#include "os/threads.h"
#include "os/wait_fd.h"

namespace ckpt {
namespace {

constexpr int kControlFd = 3;  // its number in the worker
constexpr Duration kExitTimeout = std::chrono::seconds(2);
constexpr Duration kFirstPause = std::chrono::milliseconds(50);
constexpr Duration kLongestPause = std::chrono::seconds(5);

}  // namespace

std::vector<std::string> prefixed_command(const std::string& prefix, std::uint32_t rank, const std::vector<std::string>& command) {
  constexpr std::string_view kRank = "{rank}";
  std::vector<std::string> words;
  std::istringstream text(prefix);
  for (std::string word; text >> word;) {
    for (std::size_t at = word.find(kRank); at != std::string::npos; at = word.find(kRank)) word.replace(at, kRank.size(), std::to_string(rank));
    words.push_back(std::move(word));
  }
  words.insert(words.end(), command.begin(), command.end());
  return words;
}

WorkerKeeper::WorkerKeeper(WorkerSpec spec, WorkerListener& listener) : spec_(std::move(spec)), listener_(listener) {}

WorkerKeeper::~WorkerKeeper() {
  stop();
  join();
}

void WorkerKeeper::join() {
  if (thread_.joinable()) thread_.join();
}

Status WorkerKeeper::start() {
  CKPT_ASSIGN_OR_RETURN(thread_, start_thread("keep a worker running", [this] { keep(); }));
  return Status::success();
}

void WorkerKeeper::stop() noexcept { stopping_.trigger({StatusCode::cancelled, Scope::process, "the engine ends"}); }

void WorkerKeeper::keep() {
  for (Duration pause = kFirstPause; !stopping_.triggered();) {
    bool was_ready = false;
    const Status ended = run_process(was_ready).with_note("worker {}", spec_.rank);
    listener_.on_lost(spec_.rank, ended);
    if (stopping_.triggered()) return;
    pause = was_ready ? kFirstPause : std::min(pause * 2, kLongestPause);
    log_warning("{}; starting it again", ended.to_string());
    if (!pause_for(pause, stopping_).ok()) return;
  }
}

// One process from its start to its end. Never ok: says how it ended.
Status WorkerKeeper::run_process(bool& was_ready) {
  ControlSocket reader;
  CKPT_ASSIGN_OR_RETURN(Process process, start_process(reader));
  const Status served = serve(reader, was_ready);
  hang_up();
  reader.close();
  if (served.code() == StatusCode::deadline_exceeded) {  // silent: it would not notice the end of the socket
    static_cast<void>(process.signal(SIGKILL));
    return served;
  }
  const AbortSignal never;
  const Result<ExitStatus> exit = process.wait(Deadline::after(kExitTimeout), never);  // ~Process kills it if it lingers
  const MutexLock lock(mutex_);
  if (!killed_for_.empty()) return {StatusCode::unavailable, Scope::process, "was ended: {}", killed_for_};
  if (served.code() != StatusCode::unavailable) return served;
  return {StatusCode::unavailable, Scope::process, "the process {}", exit.ok() ? exit->to_string() : "closed its control socket and lingered"};
}

Result<Process> WorkerKeeper::start_process(ControlSocket& reader) {
  CKPT_ASSIGN_OR_RETURN(auto sockets, ControlSocket::pair());
  ProcessOptions options;
  options.command = spec_.command;
  options.command.push_back(std::to_string(kControlFd));
  options.environment = {fmt::format("RANK={}", spec_.rank)};
  options.fds = {{sockets.second.fd(), kControlFd}};
  CKPT_ASSIGN_OR_RETURN(reader, sockets.first.duplicate());
  CKPT_ASSIGN_OR_RETURN(Process process, Process::spawn(options));
  const MutexLock lock(mutex_);
  const Hello hello{spec_.rank, spec_.tp, spec_.model_bytes, arena_in_place_};
  CKPT_RETURN_IF_ERROR(sockets.first.send(encode(FrontMessage(hello)), spec_.fds));
  socket_ = std::move(sockets.first);
  pid_ = process.pid();
  killed_for_.clear();
  return process;
}

// Carries messages until the worker is gone (unavailable) or silent (deadline_exceeded), or the engine ends (cancelled).
Status WorkerKeeper::serve(const ControlSocket& reader, bool& was_ready) {
  bool ping_open = false;
  TimePoint ping_time = Clock::real().now();
  for (;;) {
    const Duration wait = ping_open ? spec_.heartbeat_timeout : spec_.heartbeat_interval;
    const Duration passed = Clock::real().now() - ping_time;
    const Result<ControlMessage> received = reader.receive(Deadline::after(wait - std::min(wait, passed)), stopping_);
    if (received.ok()) {
      answering_ = false;
      CKPT_RETURN_IF_ERROR(dispatch(*received, was_ready));
      if (answering_) ping_open = false;
      continue;
    }
    if (received.status().code() != StatusCode::deadline_exceeded) return received.status();
    if (ping_open)
      return {StatusCode::deadline_exceeded, Scope::process, "did not answer for {}: stopped or stuck", format_duration(spec_.heartbeat_timeout)};
    const MutexLock lock(mutex_);
    CKPT_RETURN_IF_ERROR(send_locked(Ping{}));
    ping_open = true;
    ping_time = Clock::real().now();
  }
}

Status WorkerKeeper::dispatch(const ControlMessage& received, bool& was_ready) {
  CKPT_ASSIGN_OR_RETURN(const WorkerMessage message, decode_worker_message(received.text));
  if (std::holds_alternative<Pong>(message)) {
    answering_ = true;
  } else if (const auto* ready = std::get_if<Ready>(&message)) {
    if (!ready->status.ok() && ready->status.code() != StatusCode::data_corruption) return ready->status;
    was_ready = true;
    listener_.on_ready(spec_.rank, ready->status);
  } else if (const auto* outcome = std::get_if<UpdateOutcome>(&message)) {
    listener_.on_outcome(spec_.rank, *outcome);
  } else if (const auto* committed = std::get_if<Committed>(&message)) {
    listener_.on_committed(spec_.rank, committed->update);
  }
  return Status::success();
}

void WorkerKeeper::hang_up() {
  const MutexLock lock(mutex_);
  socket_.close();
  pid_ = -1;
}

Status WorkerKeeper::send_locked(const FrontMessage& message) {
  if (!socket_.valid()) return {StatusCode::unavailable, Scope::process, "worker {} is being started again", spec_.rank};
  return socket_.send(encode(message));
}

bool WorkerKeeper::connected() const {
  const MutexLock lock(mutex_);
  return socket_.valid();
}

Status WorkerKeeper::start_update(const StageUpdate& request) {
  const MutexLock lock(mutex_);
  return send_locked(request);
}

void WorkerKeeper::abort_update(std::uint64_t update, const Status& reason) {
  const MutexLock lock(mutex_);
  static_cast<void>(send_locked(AbortUpdate{update, reason}));  // fails only if the worker is gone, which ends the update as well
}

void WorkerKeeper::commit(const Commit& commit) {
  const MutexLock lock(mutex_);
  arena_in_place_ = static_cast<std::int32_t>(commit.arena);
  static_cast<void>(send_locked(commit));  // a worker that is gone learns it from the next greeting
}

void WorkerKeeper::forget_weights() {
  const MutexLock lock(mutex_);
  arena_in_place_ = -1;
}

void WorkerKeeper::kill(std::string_view reason) {
  const MutexLock lock(mutex_);
  if (pid_ <= 0) return;
  killed_for_ = reason;
  ::kill(pid_, SIGKILL);  // not reaped before hang_up(), so the number is still its own
}

}  // namespace ckpt
