#include "channel/bucket_session.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/fault_point.h"
#include "base/log.h"
#include "base/recorder.h"
#include "channel/deliver_abort.h"
#include "channel/journal.h"
#include "channel/native_codec.h"
#include "channel/pickle_writer.h"
#include "channel/session_address.h"
#include "channel/worker_answer.h"
#include "channel/zmq_socket.h"
#include "os/fd_passing.h"
#include "os/socket.h"
#include "os/wait_fd.h"

namespace ckpt {
namespace {

/// How long a worker of dialect 1 usually takes to disconnect after its only None: measured 0 to 4 ms (docs/format/channel.md).
constexpr Duration kDialectProbe = std::chrono::milliseconds(100);
constexpr Duration kAbortDelivery = std::chrono::seconds(1);
/// A worker that raises disconnects at once; its engine's reply, which says why, follows within a moment.
constexpr Duration kReplyFollows = std::chrono::milliseconds(300);

bool same_user(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  return ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == ::geteuid();
}

/// Nobody can tell which worker an engine has, until it comes: where the dialect is automatic, ours has an address of its own.
Result<std::unique_ptr<ZmqSocket>> bind_session_socket(const SessionOptions& options, const std::string& endpoint) {
  const std::string second = options.dialect == Dialect::automatic ? native_endpoint(endpoint) : std::string();
  return ZmqSocket::open(ZmqSocket::Role::request_and_bind, endpoint, {options.heartbeat_interval, options.heartbeat_timeout, second});
}

/// What is asked of a worker: nothing yet, an open handle, everything released, done.
enum class Phase : std::uint8_t { bound, open, released, done };

class Session final : public BucketSession {
 public:
  struct Parts {
    SessionOptions options;
    SessionAddress address;
    std::unique_ptr<JournalEntry> journal;  // ends after the sockets: who gets its lock may bind the address
    std::unique_ptr<ZmqSocket> zmq;
    std::unique_ptr<Listener> fd_listener;
  };
  Session(Parts parts, const AbortSignal& abort)
      : parts_(std::move(parts)), dialect_(parts_.options.dialect), link_(abort, [this](const Status& reason) { stop_.trigger(reason); }) {}

  ~Session() override {
    const bool told = phase_ != Phase::done && has_peer() && tell_abort();
    if (told || nobody_waits()) return;
    log_warning("worker {} may wait for this update, and could not be told of its end: the next update tries again", parts_.options.worker_key);
    parts_.journal->leave();
  }

  [[nodiscard]] const std::string& address() const override { return parts_.address.endpoint; }
  [[nodiscard]] Dialect dialect() const override { return dialect_; }
  void abort(const Status& reason) noexcept override { stop_.trigger(reason); }

  void engine_asked() noexcept override {
    asked_ = true;
    parts_.journal->mark_asked();
  }

  void engine_answered() noexcept override { asked_ = false; }

  [[nodiscard]] Status connect(const ExportedBuffer& buffer, Deadline deadline) override {
    CKPT_RETURN_IF_ERROR(first_error_);
    CKPT_FAULT_POINT("connect.before_handle");
    CKPT_RETURN_IF_ERROR(keep(parts_.zmq->wait_for_peer(deadline, stop_)));
    // One that has ended may be followed by the next before we know; that one must not get what is meant for the first.
    if (parts_.options.dialect != Dialect::native) parts_.zmq->hide_address();
    phase_ = Phase::open;
    buffer_fd_ = buffer.fd;
    CKPT_RETURN_IF_ERROR(keep(judge_worker(buffer)));
    return ask(native() ? native_handle(buffer) : pickle_handle(buffer.cuda_ipc_handle, buffer.bytes), deadline, "handle");
  }

  [[nodiscard]] Status offer(std::uint32_t bucket, std::string_view message, Deadline deadline) override {
    CKPT_RETURN_IF_ERROR(first_error_);
    return ask(message, deadline.capped(parts_.options.ack_timeout), fmt::format("bucket {}", bucket));
  }

  [[nodiscard]] Status release(Deadline deadline) override {
    CKPT_RETURN_IF_ERROR(first_error_);
    CKPT_RETURN_IF_ERROR(ask(native() ? encode_native_release() : pickle_none(), deadline, "release"));
    phase_ = Phase::released;
    if (dialect_ == Dialect::automatic && leaves_after_release()) dialect_ = Dialect::one;
    if (dialect_ == Dialect::one) phase_ = Phase::done;
    return Status::success();
  }

  [[nodiscard]] Status finish(Deadline deadline) override {
    CKPT_RETURN_IF_ERROR(first_error_);
    if (phase_ == Phase::done) return Status::success();  // dialect 1: the answer to release was the last
    const Status status = exchange(native() ? encode_native_finish() : pickle_none(), deadline, "finish");
    // Gone without an answer: a worker of dialect 1 that took its time to close, or one of dialect 2 whose hook raised. The engine's reply tells.
    const bool either = dialect_ == Dialect::automatic && status.code() == StatusCode::unavailable;
    if (!status.ok() && !either) return keep(explained(status));
    if (dialect_ == Dialect::automatic) dialect_ = either ? Dialect::one : Dialect::two;
    phase_ = Phase::done;
    return Status::success();
  }

  [[nodiscard]] Status reopen() override {
    CKPT_RETURN_IF_ERROR(first_error_);
    CKPT_CHECK(phase_ == Phase::done && parts_.options.dialect != Dialect::native);
    // A new socket: what is sent on the old one goes to the pipe of the worker that has left as long as libzmq has not taken it down, and is lost.
    parts_.zmq.reset();
    phase_ = Phase::bound;
    awaiting_ = false;
    parts_.journal->mark_again();
    Result<std::unique_ptr<ZmqSocket>> opened = bind_session_socket(parts_.options, parts_.address.endpoint);
    if (!opened.ok()) return keep(opened.status());
    parts_.zmq = std::move(opened).value();
    return Status::success();
  }

  [[nodiscard]] Result<bool> comes_again(Deadline deadline, const AbortSignal& call_ended) override {
    CKPT_RETURN_IF_ERROR(first_error_);
    const Status status = parts_.zmq->wait_for_peer(deadline, call_ended);
    if (call_ended.triggered()) return false;
    CKPT_RETURN_IF_ERROR(keep(status));
    return true;
  }

 private:
  [[nodiscard]] bool has_peer() { return parts_.zmq && parts_.zmq->has_peer(); }
  [[nodiscard]] bool native() const { return dialect_ == Dialect::native; }

  /// By the address at which it came, where both kinds are served.
  Status judge_worker(const ExportedBuffer& buffer) {
    if (parts_.zmq->peer_came_second()) {
      dialect_ = Dialect::native;
      parts_.journal->mark_native();
    } else if (native()) {
      dialect_ = parts_.options.dialect;  // of a sender for both kinds, whose last worker was ours
    }
    if (native() || !buffer.cuda_ipc_handle.empty()) return Status::success();
    return Status(StatusCode::unsupported, Scope::peer, "the worker maps GPU memory only, and this rank's device is host memory")
        .advise("install ckpt-engine in the engine and let it use ckpt_engine's worker, or use --device cuda where there are GPUs");
  }

  [[nodiscard]] std::string native_handle(const ExportedBuffer& buffer) const {
    if (buffer.cuda_ipc_handle.empty()) return encode_native_handle({parts_.address.fd_socket, buffer.bytes});
    return encode_native_handle({"", buffer.bytes, parts_.options.worker_key, buffer.cuda_ipc_handle});
  }

  /// A worker of dialect 1 does. One that is known for dialect 2 is not waited for; should it be another by now, finish() sees it.
  [[nodiscard]] bool leaves_after_release() {
    if (parts_.options.expected == Dialect::two) return parts_.zmq->peer_leaves_within(Duration::zero());
    const Span span(Stage::release, "find out the dialect");
    return parts_.zmq->peer_leaves_within(kDialectProbe);
  }

  Status keep(const Status& status) {
    if (!status.ok() && first_error_.ok()) first_error_ = status.with_note("worker {}", parts_.options.worker_key);
    return first_error_;
  }

  Status ask(std::string_view message, Deadline deadline, const std::string& what) { return keep(explained(exchange(message, deadline, what))); }

  /// The engine's own words in place of "disconnected", if they come.
  Status explained(const Status& status) {
    if (status.code() != StatusCode::unavailable || !asked_) return status;
    const Status reason = pause_for(kReplyFollows, stop_);
    return reason.ok() ? status : reason;
  }

  /// One message and its answer.
  Status exchange(std::string_view message, Deadline deadline, const std::string& what) {
    CKPT_RETURN_IF_ERROR(parts_.zmq->send(message, deadline, stop_, what));
    awaiting_ = true;
    const ZmqSocket::Watched watched{parts_.fd_listener ? parts_.fd_listener->fd() : -1, [&] { return pass_descriptor(deadline); }};
    CKPT_ASSIGN_OR_RETURN(const std::string answer,
                          parts_.zmq->receive(kMaxAnswerBytes, deadline, stop_, what, parts_.fd_listener ? &watched : nullptr));
    awaiting_ = false;
    return judge_answer(what, answer);
  }

  /// The worker asks for the memory behind the handle.
  Status pass_descriptor(Deadline deadline) {
    CKPT_ASSIGN_OR_RETURN(const auto connection, parts_.fd_listener->accept_now());
    if (!connection) return Status::success();
    if (!same_user(connection->fd())) {
      log_warning("a process of another user asked for the buffer of worker {} and was refused", parts_.options.worker_key);
      return Status::success();
    }
    return send_fds(connection->fd(), std::span(&buffer_fd_, 1), "buffer", deadline, stop_);
  }

  /// A worker that waits for us must not wait for ever. Whether it has gone then.
  bool tell_abort() noexcept {
    const std::string reason = stop_.check().ok() ? first_error_.to_string() : stop_.check().to_string();
    const bool to_native = parts_.options.dialect == Dialect::native || parts_.zmq->peer_came_second();
    const std::string message = to_native ? encode_native_abort(reason) : pickle_abort(reason);
    return deliver_abort(*parts_.zmq, message, awaiting_, Deadline::after(kAbortDelivery)) && !parts_.zmq->peer_is_stopped();
  }

  /// Whether no worker waits at our address, or will. A native one looks itself whether its sender lives, and ends without one.
  [[nodiscard]] bool nobody_waits() {
    if (phase_ == Phase::done || native()) return true;
    if (has_peer() || (parts_.zmq && parts_.zmq->peer_is_stopped())) return false;
    return phase_ != Phase::bound || !asked_;
  }

  Parts parts_;
  Dialect dialect_;
  Phase phase_ = Phase::bound;
  bool asked_ = false;
  bool awaiting_ = false;
  int buffer_fd_ = -1;
  Status first_error_;
  AbortSignal stop_;
  AbortLink link_;
};

}  // namespace

Result<std::unique_ptr<BucketSession>> open_session(const SessionOptions& options, const AbortSignal& abort) {
  Session::Parts parts;
  parts.options = options;
  CKPT_ASSIGN_OR_RETURN(parts.address, make_session_address(options.socket_dir));
  const bool native = options.dialect == Dialect::native;
  const bool may_be_native = native || options.dialect == Dialect::automatic;
  const std::string& endpoint = parts.address.endpoint;
  CKPT_ASSIGN_OR_RETURN(JournalEntry journal, JournalEntry::create(options.journal_dir, {endpoint, options.worker_key, native, false}));
  parts.journal = std::make_unique<JournalEntry>(std::move(journal));
  CKPT_ASSIGN_OR_RETURN(parts.zmq, bind_session_socket(options, endpoint));
  if (may_be_native) {
    CKPT_ASSIGN_OR_RETURN(Listener listener, Listener::unix_path(parts.address.fd_socket));
    parts.fd_listener = std::make_unique<Listener>(std::move(listener));
  }
  return std::unique_ptr<BucketSession>(std::make_unique<Session>(std::move(parts), abort));
}

}  // namespace ckpt
