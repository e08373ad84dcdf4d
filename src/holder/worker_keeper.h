/// The front's side of one worker: starts its process, proves that it lives, carries messages, and starts it again when it is gone.
#pragma once

#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "holder/control_messages.h"
#include "holder/control_socket.h"
#include "os/process.h"

namespace ckpt {

/// What the front hears of its workers, on the keeper's thread. Must not block.
class WorkerListener {
 public:
  virtual ~WorkerListener() = default;
  /// The worker can take an update. data_corruption: the weights in place are damaged.
  virtual void on_ready(std::uint32_t rank, const Status& weights) = 0;
  /// The process has ended, or was ended because it fell silent. It is started again.
  virtual void on_lost(std::uint32_t rank, const Status& reason) = 0;
  virtual void on_outcome(std::uint32_t rank, const UpdateOutcome& outcome) = 0;
  virtual void on_committed(std::uint32_t rank, std::uint64_t update) = 0;
};

struct WorkerSpec {
  std::uint32_t rank = 0;
  std::uint32_t tp = 1;
  std::vector<std::string> command;  ///< starts a worker; the number of its control descriptor is appended
  std::vector<int> fds;              ///< borrowed: the encoded model, then the arenas
  std::uint64_t model_bytes = 0;
  Duration heartbeat_interval = std::chrono::seconds(1);
  Duration heartbeat_timeout = std::chrono::seconds(10);
};

/// `command` behind the words of `prefix`, each "{rank}" in which is replaced. The prefix must run it in its own place (exec): its process is the
/// worker.
[[nodiscard]] std::vector<std::string> prefixed_command(const std::string& prefix, std::uint32_t rank, const std::vector<std::string>& command);

/// Owns the process and the thread that started it (which must live as long as the process: see ProcessOptions::death_signal).
/// Threads: any. Invariant: every update that start_update accepted ends in on_outcome or on_lost.
class WorkerKeeper {
 public:
  WorkerKeeper(WorkerSpec spec, WorkerListener& listener);
  ~WorkerKeeper();  ///< stop() and join()
  WorkerKeeper(const WorkerKeeper&) = delete;
  WorkerKeeper& operator=(const WorkerKeeper&) = delete;

  /// resource_exhausted: no thread.
  [[nodiscard]] Status start();
  /// Begins to end the worker; does not wait.
  void stop() noexcept;
  /// After stop(): waits until the process is gone, at most about 2 s.
  void join();

  /// Whether there is a process that has not hung up. False as soon as it has, a while before on_lost says how it ended.
  [[nodiscard]] bool connected() const CKPT_EXCLUDES(mutex_);
  /// unavailable: the worker is not there at the moment.
  [[nodiscard]] Status start_update(const StageUpdate& request) CKPT_EXCLUDES(mutex_);
  void abort_update(std::uint64_t update, const Status& reason) CKPT_EXCLUDES(mutex_);
  /// Tells the worker, and every process that comes after it, which arena is in place.
  void commit(const Commit& commit) CKPT_EXCLUDES(mutex_);
  /// From now on no arena is in place.
  void forget_weights() CKPT_EXCLUDES(mutex_);
  /// Ends a worker that does not do what it is told. It is started again.
  void kill(std::string_view reason) CKPT_EXCLUDES(mutex_);

 private:
  void keep();
  [[nodiscard]] Status run_process(bool& was_ready);
  [[nodiscard]] Result<Process> start_process(ControlSocket& reader) CKPT_EXCLUDES(mutex_);
  [[nodiscard]] Status serve(const ControlSocket& reader, bool& was_ready) CKPT_EXCLUDES(mutex_);
  [[nodiscard]] Status dispatch(const ControlMessage& received, bool& was_ready);
  void hang_up() CKPT_EXCLUDES(mutex_);
  [[nodiscard]] Status send_locked(const FrontMessage& message) CKPT_REQUIRES(mutex_);

  const WorkerSpec spec_;
  WorkerListener& listener_;
  AbortSignal stopping_;
  mutable Mutex mutex_;
  ControlSocket socket_ CKPT_GUARDED_BY(mutex_);  // for sending; the thread reads from a second descriptor
  std::int32_t arena_in_place_ CKPT_GUARDED_BY(mutex_) = -1;
  pid_t pid_ CKPT_GUARDED_BY(mutex_) = -1;
  std::string killed_for_ CKPT_GUARDED_BY(mutex_);
  bool answering_ = false;  // since the last ping; the thread's own
  std::thread thread_;
};

}  // namespace ckpt
