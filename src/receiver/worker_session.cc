#include "receiver/worker_session.h"

#include "base/fault_point.h"
#include "channel/session_address.h"
#include "os/wait_fd.h"
#include "receiver/sender_presence.h"

namespace ckpt {
namespace {

/// How often a worker that waits for its sender looks whether there still is one, and how long there may be none: between two sessions of one update
/// call our sender makes its address anew.
constexpr Duration kPresenceCheck = std::chrono::milliseconds(200);

Status out_of_order(const char* kind) { return {StatusCode::failed_precondition, Scope::peer, "a message of kind {} came out of order", kind}; }

}  // namespace

Result<WorkerEvent> WorkerSession::next(Deadline deadline, const AbortSignal& abort) {
  if (asked_ != WorkerEvent::none) return Status(StatusCode::failed_precondition, Scope::operation, "the last message has not been answered");
  if (phase_ == Phase::done) return WorkerEvent::end;
  if (unasked_) return failure_;  // who could be told has gone, or waits for the engine's reply
  Result<bool> there = connected(deadline, abort);
  if (!there.ok()) return ended_by(there.status());
  if (!*there) return WorkerEvent::none;
  for (;;) {
    const Deadline until = may_be_done() ? deadline.capped(second_none_->remaining()) : deadline;
    const Result<std::string> message = socket_->receive(kMaxNativeMessageBytes, until, abort, "the sender's next message");
    const StatusCode code = message.status().code();
    if (may_be_done() && (code == StatusCode::unavailable || (code == StatusCode::deadline_exceeded && second_none_->passed()))) {
      unasked_ = true;
      phase_ = Phase::finishing;
      return asked_ = WorkerEvent::finish;
    }
    if (code == StatusCode::deadline_exceeded) return WorkerEvent::none;
    if (!message.ok()) return ended_by(message.status());
    Result<WorkerEvent> event = take(*message);
    if (event.ok()) return asked_ = *event;
    if (event.status().code() == StatusCode::cancelled) return ended_by(event.status());
    if (failure_.ok()) failure_ = event.status();
    CKPT_RETURN_IF_ERROR(socket_->send(failure_.to_string(), deadline.capped(kPresenceCheck), abort, "the answer to the sender"));
  }
}

Status WorkerSession::answer(std::string_view error_text, Deadline deadline, const AbortSignal& abort) {
  const WorkerEvent answered = std::exchange(asked_, WorkerEvent::none);
  if (answered == WorkerEvent::none) return {StatusCode::failed_precondition, Scope::operation, "there is nothing to be answered"};
  if (!error_text.empty()) failure_ = Status::of(StatusCode::remote_error, Scope::operation, std::string(error_text));
  if (answered == WorkerEvent::release && failure_.ok()) {
    phase_ = Phase::prepared;
    second_none_ = Deadline::after(options_.second_none);
  }
  if (answered == WorkerEvent::finish && failure_.ok()) phase_ = Phase::done;
  if (unasked_ && !is_asked_meanwhile(abort)) return Status::success();
  CKPT_FAULT_POINT("receiver.before_answer");
  const Status sent = socket_->send(error_text, deadline, abort, "the answer to the sender");
  return phase_ == Phase::done ? Status::success() : sent;
}

/// Whether a sender that was taken for one of dialect 1 has sent its second None after all.
bool WorkerSession::is_asked_meanwhile(const AbortSignal& abort) {
  const Result<std::string> message = socket_->receive(kMaxNativeMessageBytes, Deadline::after(Duration::zero()), abort, "a second None");
  const Result<SenderPickle> pickle = message.ok() ? decode_sender_pickle(*message) : message.status();
  return pickle.ok() && std::holds_alternative<PickledNone>(*pickle);
}

/// The sender has bound its addresses before it told us: where nobody listens, nobody will come. False: not yet.
Result<bool> WorkerSession::connected(Deadline deadline, const AbortSignal& abort) {
  if (socket_ && socket_->had_peer()) return true;
  if (!connect_deadline_) connect_deadline_ = Deadline::after(options_.connect_timeout);
  for (;;) {
    CKPT_RETURN_IF_ERROR(look_for_sender());
    const Deadline next_look = deadline.capped(std::min(kPresenceCheck, connect_deadline_->remaining()));
    const Status status = socket_ ? socket_->wait_for_peer(next_look, abort) : pause_for(next_look.remaining(), abort);
    if (status.ok() && socket_) return true;
    if (!status.ok() && status.code() != StatusCode::deadline_exceeded) return status.with_note("no sender at {}", options_.address);
    if (connect_deadline_->passed())
      return Status(StatusCode::deadline_exceeded, Scope::peer, "no sender at {} within {}", options_.address,
                    format_duration(options_.connect_timeout));
    if (deadline.passed()) return false;
  }
}

Status WorkerSession::look_for_sender() {
  if (!somebody_listens(options_.address)) {
    const TimePoint now = Clock::real().now();
    if (!absent_since_) absent_since_ = now;
    if (now - *absent_since_ < kPresenceCheck) return Status::success();
    return {StatusCode::unavailable, Scope::peer, "no sender at {}: the process that listened there has gone", options_.address};
  }
  absent_since_.reset();
  if (socket_) return Status::success();
  // In this order: a sender that has both addresses makes the first one last.
  const std::string native = native_endpoint(options_.address);
  const std::string& address = !native.empty() && somebody_listens(native) ? native : options_.address;
  CKPT_ASSIGN_OR_RETURN(socket_,
                        ZmqSocket::open(ZmqSocket::Role::reply_and_connect, address, {options_.heartbeat_interval, options_.heartbeat_timeout}));
  return Status::success();
}

Result<WorkerEvent> WorkerSession::take(const std::string& bytes) {
  const auto aborted = [](const NativeAbort& abort) {
    return Status(StatusCode::cancelled, Scope::peer, "the sender aborted the update: {}", abort.reason);
  };
  if (is_pickle(bytes)) {
    CKPT_ASSIGN_OR_RETURN(SenderPickle message, decode_sender_pickle(bytes));
    if (const auto* abort = std::get_if<NativeAbort>(&message)) return aborted(*abort);
    if (auto* handle = std::get_if<PickledHandle>(&message)) return take_handle(*handle);
    if (auto* bucket = std::get_if<NativeBucket>(&message)) return take_bucket(*bucket);
    return phase_ == Phase::open ? take_release() : take_finish();
  }
  CKPT_ASSIGN_OR_RETURN(NativeMessage message, decode_native(bytes));
  if (const auto* abort = std::get_if<NativeAbort>(&message)) return aborted(*abort);
  if (auto* handle = std::get_if<NativeHandle>(&message)) return take_handle(*handle);
  if (auto* bucket = std::get_if<NativeBucket>(&message)) return take_bucket(*bucket);
  return std::holds_alternative<NativeRelease>(message) ? take_release() : take_finish();
}

template <typename Handle>
Result<WorkerEvent> WorkerSession::take_handle(Handle& handle) {
  if (phase_ != Phase::before_handle) return out_of_order("handle");
  phase_ = Phase::open;
  native_ = std::is_same_v<Handle, NativeHandle>;
  buffer_bytes_ = handle.bytes;
  handle_ = std::move(handle);
  return WorkerEvent::handle;
}

Result<WorkerEvent> WorkerSession::take_bucket(NativeBucket& bucket) {
  if (phase_ != Phase::open) return out_of_order("bucket");
  CKPT_RETURN_IF_ERROR(failure_);
  CKPT_RETURN_IF_ERROR(native_ ? check_native_bucket(bucket, buffer_bytes_) : check_pickled_bucket(bucket, buffer_bytes_));
  bucket_ = std::move(bucket);
  return WorkerEvent::bucket;
}

Result<WorkerEvent> WorkerSession::take_release() {
  if (phase_ != Phase::open) return out_of_order("release");
  CKPT_RETURN_IF_ERROR(failure_);
  phase_ = Phase::released;
  return WorkerEvent::release;
}

Result<WorkerEvent> WorkerSession::take_finish() {
  CKPT_RETURN_IF_ERROR(failure_);
  if (phase_ != Phase::prepared) return out_of_order("finish");
  phase_ = Phase::finishing;
  return WorkerEvent::finish;
}

}  // namespace ckpt
