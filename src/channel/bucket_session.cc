#include "channel/bucket_session.h"

#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/fault_point.h"
#include "base/log.h"
#include "channel/journal.h"
#include "channel/native_codec.h"
#include "channel/pickle_writer.h"
#include "channel/runtime_dir.h"
#include "channel/zmq_socket.h"
#include "os/abort_relay.h"
#include "os/fd_passing.h"
#include "os/socket.h"

namespace ckpt {
namespace {

constexpr std::size_t kMaxAnswerBytes = 1u << 20;
/// How long a worker of dialect 1 has to disconnect after its only None: measured 0 to 4 ms (docs/format/channel.md).
constexpr Duration kDialectProbe = std::chrono::milliseconds(100);
constexpr Duration kAbortDelivery = std::chrono::seconds(1);

bool same_user(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  return ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && (peer.uid == ::geteuid() || ::geteuid() == 0);
}

/// What is asked of a worker: nothing yet, an open handle, everything released, done.
enum class Phase : std::uint8_t { bound, open, released, done };

class Session final : public BucketSession {
 public:
  struct Parts {
    SessionOptions options;
    std::string address;
    std::string fd_socket;
    std::unique_ptr<ZmqSocket> zmq;
    std::unique_ptr<Listener> fd_listener;
    std::unique_ptr<JournalEntry> journal;
  };
  Session(Parts parts, const AbortSignal& abort)
      : parts_(std::move(parts)), dialect_(parts_.options.dialect), relay_({&abort}, [this](const Status& reason) { stop_.trigger(reason); }) {}

  ~Session() override {
    if (phase_ == Phase::open || phase_ == Phase::released) tell_abort();
  }

  [[nodiscard]] const std::string& address() const override { return parts_.address; }
  [[nodiscard]] Dialect dialect() const override { return dialect_; }
  void abort(const Status& reason) noexcept override { stop_.trigger(reason); }

  [[nodiscard]] Status connect(const ExportedBuffer& buffer, Deadline deadline) override {
    CKPT_RETURN_IF_ERROR(first_error_);
    CKPT_FAULT_POINT("connect.before_handle");
    CKPT_RETURN_IF_ERROR(keep(parts_.zmq->wait_for_peer(deadline, stop_)));
    phase_ = Phase::open;
    const bool native = dialect_ == Dialect::native;
    buffer_fd_ = buffer.fd;
    const std::string handle = native ? encode_native_handle({parts_.fd_socket, buffer.bytes}) : pickle_handle(buffer.cuda_ipc_handle, buffer.bytes);
    return ask(handle, deadline, "handle");
  }

  [[nodiscard]] Status offer(std::uint32_t bucket, std::string_view message, Deadline deadline) override {
    CKPT_RETURN_IF_ERROR(first_error_);
    return ask(message, deadline, fmt::format("bucket {}", bucket));
  }

  [[nodiscard]] Status release(Deadline deadline) override {
    CKPT_RETURN_IF_ERROR(first_error_);
    CKPT_RETURN_IF_ERROR(ask(dialect_ == Dialect::native ? encode_native_release() : pickle_none(), deadline, "release"));
    phase_ = Phase::released;
    if (dialect_ == Dialect::automatic) dialect_ = parts_.zmq->peer_leaves_within(kDialectProbe) ? Dialect::one : Dialect::two;
    if (dialect_ == Dialect::one) phase_ = Phase::done;
    return Status::success();
  }

  [[nodiscard]] Status finish(Deadline deadline) override {
    CKPT_RETURN_IF_ERROR(first_error_);
    if (phase_ == Phase::done) return Status::success();  // dialect 1: the answer to release was the last
    CKPT_RETURN_IF_ERROR(ask(dialect_ == Dialect::native ? encode_native_finish() : pickle_none(), deadline, "finish"));
    phase_ = Phase::done;
    return Status::success();
  }

 private:
  Status keep(const Status& status) {
    if (!status.ok() && first_error_.ok()) first_error_ = status.with_note("worker {}", parts_.options.worker_key);
    return first_error_;
  }

  /// One message and its answer.
  Status ask(std::string_view message, Deadline deadline, const std::string& what) {
    const Deadline bounded = deadline.capped(parts_.options.ack_timeout);
    CKPT_RETURN_IF_ERROR(keep(parts_.zmq->send(message, bounded, stop_, what)));
    awaiting_ = true;
    const ZmqSocket::Watched watched{parts_.fd_listener ? parts_.fd_listener->fd() : -1, [&] { return pass_descriptor(bounded); }};
    const Result<std::string> answer = parts_.zmq->receive(kMaxAnswerBytes, bounded, stop_, what, parts_.fd_listener ? &watched : nullptr);
    if (!answer.ok()) return keep(answer.status());
    awaiting_ = false;
    if (answer->empty()) return Status::success();
    return keep(Status::of(StatusCode::remote_error, Scope::peer, fmt::format("{}: the worker answered: {}", what, *answer)));
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

  /// A worker that waits for us must not wait for ever. REQ can only send when the last answer has been read.
  void tell_abort() noexcept {
    const AbortSignal never;
    const Deadline deadline = Deadline::after(kAbortDelivery);
    if (awaiting_ && !parts_.zmq->receive(kMaxAnswerBytes, deadline, never, "answer before abort").ok()) return;
    const std::string reason = stop_.check().ok() ? first_error_.to_string() : stop_.check().to_string();
    const std::string message = dialect_ == Dialect::native ? encode_native_abort(reason) : pickle_abort(reason);
    if (parts_.zmq->send(message, deadline, never, "abort").ok()) static_cast<void>(parts_.zmq->peer_leaves_within(deadline.remaining()));
  }

  Parts parts_;
  Dialect dialect_;
  Phase phase_ = Phase::bound;
  bool awaiting_ = false;
  int buffer_fd_ = -1;
  Status first_error_;
  AbortSignal stop_;
  AbortRelay relay_;
};

}  // namespace

std::string encode_bucket(Dialect dialect, std::uint32_t bucket, std::span<const PlacedTensor> tensors, std::span<const UnitCheck> checks) {
  return dialect == Dialect::native ? encode_native_bucket(bucket, tensors, checks) : pickle_bucket(tensors);
}

Result<std::unique_ptr<BucketSession>> open_session(const SessionOptions& options, const AbortSignal& abort) {
  CKPT_ASSIGN_OR_RETURN(const std::string name, unguessable_name());
  Session::Parts parts;
  parts.options = options;
  const bool abstract = options.socket_dir == "abstract";
  if (!abstract) CKPT_RETURN_IF_ERROR(make_private_dir(options.socket_dir));
  const std::string stem = abstract ? "@ckpt-" + name : options.socket_dir + "/" + name;
  if (stem.size() + 3 > 107)
    return Status(StatusCode::invalid_argument, Scope::operation, "socket directory {} is too long: a Unix socket's path has at most 107 bytes",
                  options.socket_dir)
        .advise("give a shorter --socket-dir");
  parts.address = "ipc://" + stem;
  JournaledSession entry{parts.address, options.worker_key, options.dialect == Dialect::native};
  CKPT_ASSIGN_OR_RETURN(JournalEntry journal, JournalEntry::create(options.journal_dir, entry));
  parts.journal = std::make_unique<JournalEntry>(std::move(journal));
  CKPT_ASSIGN_OR_RETURN(parts.zmq,
                        ZmqSocket::open(ZmqSocket::Role::request_and_bind, parts.address, {options.heartbeat_interval, options.heartbeat_timeout}));
  if (options.dialect == Dialect::native) {
    parts.fd_socket = stem + ".fd";
    CKPT_ASSIGN_OR_RETURN(Listener listener, Listener::unix_path(parts.fd_socket));
    parts.fd_listener = std::make_unique<Listener>(std::move(listener));
  }
  return std::unique_ptr<BucketSession>(std::make_unique<Session>(std::move(parts), abort));
}

Result<int> recover_sessions(const std::string& journal_dir, Deadline deadline) {
  CKPT_ASSIGN_OR_RETURN(std::vector<AbandonedSession> abandoned, abandoned_sessions(journal_dir));
  const AbortSignal never;
  int freed = 0;
  for (AbandonedSession& one : abandoned) {
    if (one.session.address.starts_with("ipc:///")) {  // what the dead process left
      ::unlink(one.session.address.substr(6).c_str());
      ::unlink((one.session.address.substr(6) + ".fd").c_str());
    }
    Result<std::unique_ptr<ZmqSocket>> socket = ZmqSocket::open(ZmqSocket::Role::request_and_bind, one.session.address, {});
    // A worker that still waits connects again by itself; one that has given up does not, and needs nothing.
    const Deadline patience = deadline.capped(std::chrono::milliseconds(500));
    if (socket.ok() && (*socket)->wait_for_peer(patience, never).ok()) {
      const std::string text = "the parameter server died during the update";
      const std::string message = one.session.native ? encode_native_abort(text) : pickle_abort(text);
      if ((*socket)->send(message, deadline, never, "abort").ok() &&
          (*socket)->peer_leaves_within(std::min<Duration>(deadline.remaining(), std::chrono::seconds(1))))
        ++freed;
      log_info("worker {} waited for a dead sender and was freed", one.session.worker_key);
    }
    ::unlink(one.path.c_str());
  }
  return freed;
}

}  // namespace ckpt
