#include "holder/worker.h"

#include <deque>
#include <memory>
#include <optional>
#include <thread>

#include "base/fault_point.h"
#include "base/log.h"
#include "holder/control_messages.h"
#include "holder/control_socket.h"
#include "holder/worker_weights.h"
#include "os/threads.h"

namespace ckpt {
namespace {

constexpr Duration kHelloTimeout = std::chrono::seconds(30);
constexpr Duration kForEver = std::chrono::hours(24 * 365 * 10);  // the wait for the front's next word, which its end ends

/// An update that the front has asked for, and what ends it.
struct UpdateTask {
  StageUpdate request;
  AbortSignal abort;
};

/// Two threads: one listens to the front, so that pings are answered and aborts heard at any time; the caller's does the work.
class WorkerLoop {
 public:
  explicit WorkerLoop(ControlSocket socket) : socket_(std::move(socket)) {}

  Status run() {
    CKPT_ASSIGN_OR_RETURN(ControlMessage first, socket_.receive(Deadline::after(kHelloTimeout), never_));
    CKPT_ASSIGN_OR_RETURN(const FrontMessage message, decode_front_message(first.text));
    const auto* hello = std::get_if<Hello>(&message);
    if (hello == nullptr) return {StatusCode::internal, Scope::process, "the front's first message is no greeting"};
    set_log_prefix(fmt::format("worker {}", hello->rank));
    CKPT_ASSIGN_OR_RETURN(std::thread listener, start_thread("listen to the front", [this] { listen(); }));
    const Status status = work(*hello, std::move(first.fds));
    closing_.trigger({StatusCode::cancelled, Scope::process, "the worker ends"});
    listener.join();
    return status.code() == StatusCode::unavailable ? Status::success() : status;  // the front has gone: nobody is left to be told
  }

 private:
  // ---- the listening thread
  void listen() CKPT_EXCLUDES(mutex_) {
    Status status;
    while (status.ok()) {
      const Result<ControlMessage> received = socket_.receive(Deadline::after(kForEver), closing_);
      const Result<FrontMessage> message = received.ok() ? decode_front_message(received->text) : received.status();
      status = message.ok() ? handle(*message) : message.status();
    }
    end(status);
  }

  Status handle(const FrontMessage& message) CKPT_EXCLUDES(mutex_) {
    if (std::holds_alternative<Ping>(message)) return say(Pong{});
    if (const auto* commit = std::get_if<Commit>(&message)) return follow(*commit);
    if (const auto* update = std::get_if<StageUpdate>(&message)) enqueue(*update);
    if (const auto* abort = std::get_if<AbortUpdate>(&message)) abort_task(*abort);
    return Status::success();
  }

  // The front has hung up, which is how it ends us; or the socket is of no use any more.
  void end(const Status& reason) CKPT_EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    ended_ = true;
    if (reason.code() != StatusCode::unavailable && reason.code() != StatusCode::cancelled) end_reason_ = reason;
    if (task_) task_->abort.trigger({StatusCode::cancelled, Scope::process, "the engine ends"});
    changed_.notify_all();
  }

  void enqueue(const StageUpdate& request) CKPT_EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    task_ = std::make_shared<UpdateTask>();
    task_->request = request;
    waiting_ = true;
    changed_.notify_all();
  }

  void abort_task(const AbortUpdate& abort) CKPT_EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    if (task_ && task_->request.update == abort.update) task_->abort.trigger(abort.reason);
  }

  Status follow(const Commit& commit) CKPT_EXCLUDES(mutex_) {
    {
      const MutexLock lock(mutex_);
      last_commit_ = commit.arena;
      if (weights_) weights_->committed(commit.arena);
    }
    return say(Committed{commit.update});
  }

  // ---- the working thread
  Status prepare(const Hello& hello, std::vector<UniqueFd> fds) CKPT_EXCLUDES(mutex_) {
    CKPT_ASSIGN_OR_RETURN(std::unique_ptr<WorkerWeights> weights, WorkerWeights::attach(hello, std::move(fds)));
    const Status ready = weights->make_ready(hello);
    const MutexLock lock(mutex_);
    weights_ = std::move(weights);
    if (last_commit_) weights_->committed(*last_commit_);
    return ready;
  }

  Status work(const Hello& hello, std::vector<UniqueFd> fds) CKPT_EXCLUDES(mutex_) {
    const Status ready = prepare(hello, std::move(fds));
    CKPT_FAULT_POINT("holder.before_ready");
    CKPT_RETURN_IF_ERROR(say(Ready{ready}));
    if (!ready.ok() && ready.code() != StatusCode::data_corruption) return ready;
    while (const std::shared_ptr<UpdateTask> task = next_task()) {
      const UpdateOutcome outcome = weights().stage(task->request, task->abort);
      CKPT_FAULT_POINT("holder.before_outcome");
      CKPT_RETURN_IF_ERROR(say(outcome));
    }
    const MutexLock lock(mutex_);
    return end_reason_;
  }

  std::shared_ptr<UpdateTask> next_task() CKPT_EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    while (!waiting_ && !ended_) changed_.wait(mutex_);
    if (ended_) return nullptr;
    waiting_ = false;
    return task_;
  }

  // The pointer is set once, before the first task.
  WorkerWeights& weights() CKPT_EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    return *weights_;
  }

  // A front that cannot hear us would wait: every failure ends the process, which it does hear.
  Status say(const WorkerMessage& message) { return socket_.send(encode(message)).with_note("a message to the front"); }

  const ControlSocket socket_;
  const AbortSignal never_;
  AbortSignal closing_;  // ends the listening thread
  Mutex mutex_;
  ConditionVariable changed_;
  std::shared_ptr<UpdateTask> task_ CKPT_GUARDED_BY(mutex_);  // shared: one thread runs it while the other may abort it
  std::unique_ptr<WorkerWeights> weights_ CKPT_GUARDED_BY(mutex_);
  std::optional<std::uint32_t> last_commit_ CKPT_GUARDED_BY(mutex_);  // may come before weights_ is there
  bool waiting_ CKPT_GUARDED_BY(mutex_) = false;                      // task_ has not been begun
  bool ended_ CKPT_GUARDED_BY(mutex_) = false;
  Status end_reason_ CKPT_GUARDED_BY(mutex_);  // ok: the front wanted it
};

}  // namespace

Status run_holder_worker(int control_fd) { return WorkerLoop(ControlSocket(UniqueFd(control_fd))).run(); }

}  // namespace ckpt
