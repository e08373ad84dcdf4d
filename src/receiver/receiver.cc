#include "receiver/receiver.h"

#include <optional>

#include "base/fault_point.h"
#include "channel/zmq_socket.h"
#include "receiver/sender_presence.h"
#include "receiver/slot_view.h"

namespace ckpt {
namespace {

/// How often a worker that waits for its sender looks whether there still is one.
constexpr Duration kPresenceCheck = std::chrono::milliseconds(200);

/// One session, message by message. After a message that failed the sender decides: it aborts, or goes away.
class ReceiveSession {
 public:
  ReceiveSession(ZmqSocket& socket, UpdateSink& sink, Deadline deadline, const AbortSignal& abort)
      : socket_(socket), sink_(sink), deadline_(deadline), abort_(abort) {}

  Status run() {
    while (!finished_) {
      CKPT_ASSIGN_OR_RETURN(const std::string bytes, socket_.receive(kMaxNativeMessageBytes, deadline_, abort_, "the sender's next message"));
      Result<NativeMessage> message = decode_native(bytes);
      if (message.ok() && std::holds_alternative<NativeAbort>(*message))
        return {StatusCode::cancelled, Scope::peer, "the sender aborted the update: {}", std::get<NativeAbort>(*message).reason};
      const Status outcome = message.ok() ? std::visit([this](auto& one) { return handle(one); }, *message) : message.status();
      if (!outcome.ok() && failure_.ok()) failure_ = outcome;
      CKPT_FAULT_POINT("receiver.before_answer");
      const Status sent = socket_.send(outcome.ok() ? std::string() : outcome.to_string(), deadline_, abort_, "the answer to the sender");
      if (!finished_) CKPT_RETURN_IF_ERROR(sent);  // after the go-ahead the other workers commit too, whether our answer arrives or not
    }
    return Status::success();
  }
  /// What went wrong here, if it did: a better text than that the sender left.
  [[nodiscard]] const Status& failure() const { return failure_; }

 private:
  Status handle(NativeHandle& handle) {
    if (view_ || released_) return out_of_order("handle");
    CKPT_ASSIGN_OR_RETURN(SlotView view, SlotView::attach(handle, deadline_, abort_));
    view_.emplace(std::move(view));
    return Status::success();
  }
  Status handle(NativeBucket& bucket) {
    if (!view_) return out_of_order("bucket");
    CKPT_FAULT_POINT("receiver.before_apply");
    CKPT_RETURN_IF_ERROR(failure_);
    CKPT_RETURN_IF_ERROR(check_native_bucket(bucket, view_->bytes()));
    CKPT_RETURN_IF_ERROR(view_->fetch(bucket, deadline_, abort_));
    CKPT_RETURN_IF_ERROR(view_->verify(bucket));
    return sink_.apply(view_->tensors(bucket));
  }
  Status handle(NativeRelease&) {
    if (!view_) return out_of_order("release");
    CKPT_FAULT_POINT("receiver.before_prepare");
    view_.reset();
    released_ = true;
    sink_.released();
    CKPT_RETURN_IF_ERROR(failure_);
    CKPT_RETURN_IF_ERROR(sink_.prepare());
    prepared_ = true;
    return Status::success();
  }
  Status handle(NativeFinish&) {
    if (!prepared_) return out_of_order("finish");
    CKPT_FAULT_POINT("receiver.before_finish");
    finished_ = true;
    return Status::success();
  }
  Status handle(NativeAbort&) { return Status::success(); }  // taken care of before
  static Status out_of_order(const char* kind) {
    return {StatusCode::failed_precondition, Scope::peer, "a message of kind {} came out of order", kind};
  }

  ZmqSocket& socket_;
  UpdateSink& sink_;
  Deadline deadline_;
  const AbortSignal& abort_;
  std::optional<SlotView> view_;
  Status failure_;
  bool released_ = false;
  bool prepared_ = false;
  bool finished_ = false;
};

/// The sender has bound its address before it told us: where nobody listens, nobody will come.
Status wait_for_sender(ZmqSocket& socket, const ReceiveOptions& options, Deadline deadline, const AbortSignal& abort) {
  for (;;) {
    const Status status = socket.wait_for_peer(deadline.capped(kPresenceCheck), abort);
    if (status.code() != StatusCode::deadline_exceeded || deadline.passed()) return status.with_note("no sender at {}", options.address);
    if (!somebody_listens(options.address))
      return {StatusCode::unavailable, Scope::peer, "no sender at {}: the process that listened there has gone", options.address};
  }
}

}  // namespace

Status receive_update(const ReceiveOptions& options, UpdateSink& sink, Deadline deadline, const AbortSignal& abort) {
  CKPT_ASSIGN_OR_RETURN(const auto socket, ZmqSocket::open(ZmqSocket::Role::reply_and_connect, options.address,
                                                           {options.heartbeat_interval, options.heartbeat_timeout}));
  CKPT_RETURN_IF_ERROR(wait_for_sender(*socket, options, deadline.capped(options.connect_timeout), abort));
  ReceiveSession session(*socket, sink, deadline, abort);
  const Status ended = session.run();
  if (ended.ok() || session.failure().ok()) return ended;
  return session.failure();
}

}  // namespace ckpt
