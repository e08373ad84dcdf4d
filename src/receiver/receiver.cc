#include "receiver/receiver.h"

#include <optional>

#include "base/fault_point.h"
#include "receiver/slot_view.h"

namespace ckpt {
namespace {

/// What is to be done for each message of a session, with a sink.
class SinkSession {
 public:
  SinkSession(const ReceiveOptions& options, UpdateSink& sink, Deadline deadline, const AbortSignal& abort)
      : session_(options), sink_(sink), deadline_(deadline), abort_(abort) {}

  Status run() {
    for (;;) {
      CKPT_ASSIGN_OR_RETURN(const WorkerEvent event, session_.next(deadline_, abort_));
      if (event == WorkerEvent::end) return Status::success();
      if (event == WorkerEvent::none) return deadline_.check("the sender's next message");
      const Status outcome = handle(event);
      if (!outcome.ok() && failure_.ok()) failure_ = outcome;
      CKPT_RETURN_IF_ERROR(session_.answer(outcome.ok() ? std::string() : outcome.to_string(), deadline_, abort_));
    }
  }
  /// What went wrong here, if it did: a better text than that the sender left.
  [[nodiscard]] const Status& failure() const { return failure_; }

 private:
  Status handle(WorkerEvent event) {
    switch (event) {
      case WorkerEvent::handle: return attach();
      case WorkerEvent::bucket: return apply(session_.bucket());
      case WorkerEvent::release: return release();
      case WorkerEvent::finish: CKPT_FAULT_POINT("receiver.before_finish"); return Status::success();
      default: return Status::success();
    }
  }
  Status attach() {
    const auto* handle = std::get_if<NativeHandle>(&session_.handle());
    if (handle == nullptr)
      return {StatusCode::unsupported, Scope::peer, "the sender speaks the pickles of checkpoint-engine, and this engine takes native messages only"};
    CKPT_ASSIGN_OR_RETURN(SlotView view, SlotView::attach(*handle, deadline_, abort_));
    view_.emplace(std::move(view));
    return Status::success();
  }
  Status apply(NativeBucket& bucket) {
    CKPT_FAULT_POINT("receiver.before_apply");
    CKPT_RETURN_IF_ERROR(view_->fetch(bucket, deadline_, abort_));
    CKPT_RETURN_IF_ERROR(view_->verify(bucket));
    return sink_.apply(view_->tensors(bucket));
  }
  Status release() {
    CKPT_FAULT_POINT("receiver.before_prepare");
    view_.reset();
    sink_.released();
    return sink_.prepare();
  }

  WorkerSession session_;
  UpdateSink& sink_;
  Deadline deadline_;
  const AbortSignal& abort_;
  std::optional<SlotView> view_;
  Status failure_;
};

}  // namespace

Status receive_update(const ReceiveOptions& options, UpdateSink& sink, Deadline deadline, const AbortSignal& abort) {
  SinkSession session(options, sink, deadline, abort);
  const Status ended = session.run();
  return ended.ok() || session.failure().ok() ? ended : session.failure();
}

}  // namespace ckpt
