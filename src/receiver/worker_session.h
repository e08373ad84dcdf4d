/// A worker's session with its sender, message by message: address in the handle map ─▶ next() ─▶ what to do ─▶ answer().
/// Both formats: native messages of our own sender, and the pickles of others, told apart by their first byte.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "base/deadline.h"
#include "channel/native_codec.h"
#include "channel/sender_pickle.h"
#include "channel/zmq_socket.h"
#include "ckpt/result.h"
#include "os/abort_signal.h"

namespace ckpt {

struct ReceiveOptions {
  std::string address;  ///< the entry of the engine's handle map
  Duration heartbeat_interval = std::chrono::seconds(1);
  Duration heartbeat_timeout = std::chrono::seconds(10);
  Duration connect_timeout = std::chrono::seconds(30);  ///< a sender that died before we came must not hold the engine until the deadline
  Duration second_none = std::chrono::seconds(3);       ///< longest wait for what only pickles of dialect 2 have; they take 0.1 to 0.5 s to send it
};

enum class WorkerEvent : std::uint8_t {
  none,     ///< nothing came in time
  handle,   ///< the sender's buffer is to be mapped: handle()
  bucket,   ///< tensors in the buffer are to be loaded: bucket(), whose placement is checked
  release,  ///< the buffer is to be let go. Native: answering well means prepared to commit
  finish,   ///< everything has come, and every worker has released: post-load work, commit
  end,      ///< over, and well
};

/// Owns the socket. Every event but none and end is to be answered before the next one is asked for. Threads: one at a time.
///
/// After an answer that says what went wrong, and after a message that did not fit, nothing more is given out: the sender hears of it until it aborts
/// or leaves, and then next() says what went wrong. A sender of pickles that leaves once its release was answered, or says nothing
/// more for `second_none`, is of dialect 1, and done: it takes that answer for the last and waits for the engine's reply. That is a finish, whose
/// answer nobody hears. A native one that leaves never was done.
class WorkerSession {
 public:
  /// Does not wait. At our own sender's second address, where there is one: it tells native workers by that.
  explicit WorkerSession(ReceiveOptions options) : options_(std::move(options)) {}

  /// The next message, or none at `deadline`. cancelled: the sender aborted (its reason is kept), or `abort` says so. unavailable (peer): it went
  /// away, or is not there. deadline_exceeded: nobody came within the connect timeout. data_corruption: a message that did not fit.
  [[nodiscard]] Result<WorkerEvent> next(Deadline deadline, const AbortSignal& abort);
  /// Answers the last event: empty for well. ok after a finish even if it does not arrive: the other workers go on too.
  [[nodiscard]] Status answer(std::string_view error_text, Deadline deadline, const AbortSignal& abort);

  [[nodiscard]] bool native() const { return native_; }
  [[nodiscard]] const std::variant<NativeHandle, PickledHandle>& handle() const { return handle_; }  ///< of the last handle event
  [[nodiscard]] NativeBucket& bucket() { return bucket_; }                                           ///< of the last bucket event

 private:
  enum class Phase : std::uint8_t { before_handle, open, released, prepared, finishing, done };
  [[nodiscard]] Result<bool> connected(Deadline deadline, const AbortSignal& abort);
  [[nodiscard]] Status look_for_sender();
  [[nodiscard]] Result<WorkerEvent> take(const std::string& message);
  template <typename Handle>
  [[nodiscard]] Result<WorkerEvent> take_handle(Handle& handle);
  [[nodiscard]] Result<WorkerEvent> take_bucket(NativeBucket& bucket);
  [[nodiscard]] Result<WorkerEvent> take_release();
  [[nodiscard]] Result<WorkerEvent> take_finish();
  [[nodiscard]] bool may_be_done() const { return phase_ == Phase::prepared && !native_ && failure_.ok(); }
  [[nodiscard]] bool is_asked_meanwhile(const AbortSignal& abort);
  [[nodiscard]] Status ended_by(const Status& reason) const { return failure_.ok() ? reason : failure_; }

  const ReceiveOptions options_;
  std::optional<Deadline> connect_deadline_;  // from the first look on
  std::optional<TimePoint> absent_since_;
  std::optional<Deadline> second_none_;  // from the answer to a release on
  std::unique_ptr<ZmqSocket> socket_;
  Phase phase_ = Phase::before_handle;
  WorkerEvent asked_ = WorkerEvent::none;  // to be answered
  bool native_ = false;
  bool unasked_ = false;  // the finish was taken for granted
  std::uint64_t buffer_bytes_ = 0;
  std::variant<NativeHandle, PickledHandle> handle_;
  NativeBucket bucket_;
  Status failure_;
};

}  // namespace ckpt
