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
    std::thread listener([this] { listen(); });
    const Status status = work(*hello, std::move(first.fds));
    closing_.trigger({StatusCode::cancelled, Scope::process, "the worker ends"});
    listener.join();
    return status;
  }

 private:
  // ---- the listening thread
  void listen() CKPT_EXCLUDES(mutex_) {
    for (;;) {
      const Result<ControlMessage> received = socket_.receive(Deadline::after(kForEver), closing_);
      const Result<FrontMessage> message = received.ok() ? decode_front_message(received->text) : received.status();
      if (!message.ok()) break;
      if (std::holds_alternative<Ping>(*message)) {
        say(Pong{});
      } else if (const auto* update = std::get_if<StageUpdate>(&*message)) {
        enqueue(*update);
      } else if (const auto* abort = std::get_if<AbortUpdate>(&*message)) {
        abort_task(*abort);
      } else if (const auto* commit = std::get_if<Commit>(&*message)) {
        follow(*commit);
      }
    }
    const MutexLock lock(mutex_);
    ended_ = true;
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

  void follow(const Commit& commit) CKPT_EXCLUDES(mutex_) {
    {
      const MutexLock lock(mutex_);
      last_commit_ = commit.arena;
      if (weights_) weights_->committed(commit.arena);
    }
    say(Committed{commit.update});
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
    say(Ready{ready});
    if (!ready.ok() && ready.code() != StatusCode::data_corruption) return ready;
    while (const std::shared_ptr<UpdateTask> task = next_task()) {
      const UpdateOutcome outcome = weights().stage(task->request, task->abort);
      CKPT_FAULT_POINT("holder.before_outcome");
      say(outcome);
    }
    return Status::success();
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

  void say(const WorkerMessage& message) {
    if (const Status status = socket_.send(encode(message)); !status.ok()) log_debug("to the front: {}", status.to_string());
  }

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
};

}  // namespace

Status run_holder_worker(int control_fd) { return WorkerLoop(ControlSocket(UniqueFd(control_fd))).run(); }

}  // namespace ckpt
