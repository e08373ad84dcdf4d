#include "pipeline/update_run.h"

#include <algorithm>

#include "base/fault_point.h"

namespace ckpt {
namespace {

/// Adds the time of a scope to a stage.
class BusyTime {
 public:
  explicit BusyTime(StageTotals& totals) : totals_(totals), begin_(Clock::real().now()) {}
  ~BusyTime() { totals_.busy += Clock::real().now() - begin_; }
  BusyTime(const BusyTime&) = delete;
  BusyTime& operator=(const BusyTime&) = delete;

 private:
  StageTotals& totals_;
  TimePoint begin_;
};

}  // namespace

UpdateRun::UpdateRun(const Parts& parts, Deadline deadline) : parts_(parts), deadline_(deadline) {
  for (std::uint32_t slot = 0; slot < parts.transfer.plan->num_slots; ++slot) free_slots_.push({});
  const auto expect = [this](Stage stage, std::uint64_t bytes) { expected_[static_cast<std::size_t>(stage)].bytes += bytes; };
  for (std::uint32_t frame = 0; frame < frames().size(); ++frame) {
    expect(Stage::handover, parts.transfer.buckets->bucket(frame).tensor_bytes);
    for (std::uint32_t stripe = 0; stripe < frames()[frame].stripes.size(); ++stripe) {
      expect(Stage::exchange, frames()[frame].stripes[stripe].bytes() - frames()[frame].stripes[stripe].unit_bytes[parts.transfer.rank]);
      for (const CopyRun& run : parts.transfer.share->runs(frame, stripe)) expect(Stage::fill, run.bytes);
    }
  }
}

void UpdateRun::fail(const Status& status) {
  if (!stop_.trigger(status)) return;
  free_slots_.fail(status);
  filled_.fail(status);
  started_.fail(status);
  parts_.transfer.collective->abort(status);
  if (parts_.transfer.session != nullptr) parts_.transfer.session->abort(status);
}

Status UpdateRun::checked(Stage stage, const Status& status) {
  const Status placed = status.at_stage(name(stage));
  if (!placed.ok()) fail(placed);
  return placed;
}

std::byte* UpdateRun::slot_of(std::uint32_t frame) const {
  return parts_.transfer.buffer->data() + parts_.transfer.buckets->bucket(frame).slot_offset_bytes;
}

void UpdateRun::report(Stage stage) {
  if (parts_.progress) parts_.progress(stage, totals(stage).bytes, expected_[static_cast<std::size_t>(stage)].bytes);
}

Status UpdateRun::fill() {
  for (std::uint32_t frame = 0; frame < frames().size(); ++frame)
    CKPT_RETURN_IF_ERROR(checked(Stage::fill, fill_frame(frame).with_note("frame {}", frame)));
  return Status::success();
}

Status UpdateRun::fill_frame(std::uint32_t frame) {
  CKPT_RETURN_IF_ERROR(free_slots_.pop(deadline_, "a free slot").status());
  for (std::uint32_t stripe = 0; stripe < frames()[frame].stripes.size(); ++stripe) CKPT_RETURN_IF_ERROR(fill_stripe(frame, stripe));
  return Status::success();
}

Status UpdateRun::fill_stripe(std::uint32_t frame, std::uint32_t stripe) {
  CKPT_FAULT_POINT("fill.before_copy");
  const bool on_host = parts_.device.host_addressable();
  Span span(Stage::fill, on_host ? "copy" : "queue copies", frame);
  StageTotals queueing;  // on a device the time of the copies is the device's own, and told later
  const BusyTime busy(on_host ? totals(Stage::fill) : queueing);
  StripeTimes times;
  if (!on_host) CKPT_RETURN_IF_ERROR(times.set(StripeTimes::Mark::copy_begins, parts_.fill_stream));
  std::byte* slot = slot_of(frame);
  for (const CopyRun& run : parts_.transfer.share->runs(frame, stripe)) {
    CKPT_RETURN_IF_ERROR(parts_.fill_stream.copy_from_host(slot + run.frame_offset_bytes, {run.source, run.bytes}));
    span.add_bytes(run.bytes);
    totals(Stage::fill).bytes += run.bytes;
  }
  CKPT_ASSIGN_OR_RETURN(auto event, parts_.fill_stream.record());
  if (on_host)
    CKPT_RETURN_IF_ERROR(event->wait(deadline_, stop_));  // the carrier reads the unit with the cores of this host
  else
    CKPT_RETURN_IF_ERROR(times.set(StripeTimes::Mark::copy_ends, parts_.fill_stream));
  filled_.push({frame, stripe, std::move(event), std::move(times)});
  report(Stage::fill);
  return Status::success();
}

Status UpdateRun::exchange() { return checked(Stage::exchange, exchange_all()); }

Status UpdateRun::exchange_all() {
  std::size_t num_stripes = 0;
  for (const Frame& frame : frames()) num_stripes += frame.stripes.size();
  for (std::size_t i = 0; i < num_stripes; ++i) {
    CKPT_ASSIGN_OR_RETURN(FilledStripe ready, filled_.pop(deadline_, "a filled stripe"));
    CKPT_RETURN_IF_ERROR(start_stripe(ready).with_note("frame {}", ready.frame));
  }
  return Status::success();
}

Status UpdateRun::start_stripe(FilledStripe& ready) {
  CKPT_FAULT_POINT("exchange.before_start");
  const Stripe& stripe = frames()[ready.frame].stripes[ready.stripe];
  DeviceStream* stream = parts_.device.host_addressable() ? nullptr : &parts_.exchange_stream;  // null: the unit is filled already
  if (stream != nullptr) {
    CKPT_RETURN_IF_ERROR(stream->wait_for(*ready.filled));
    CKPT_RETURN_IF_ERROR(ready.times.set(StripeTimes::Mark::gather_begins, *stream));
  }
  const TimePoint begin = Clock::real().now();
  CKPT_ASSIGN_OR_RETURN(auto work, parts_.transfer.collective->all_gather(slot_of(ready.frame) + stripe.offset_bytes, stripe.unit_bytes, stream));
  if (stream != nullptr) CKPT_RETURN_IF_ERROR(ready.times.set(StripeTimes::Mark::gather_ends, *stream));
  started_.push({std::move(work), begin, std::move(ready.times)});
  return Status::success();
}

Status UpdateRun::exchanged_stripe(std::uint32_t frame, std::uint32_t stripe_index) {
  const Stripe& stripe = frames()[frame].stripes[stripe_index];
  CKPT_ASSIGN_OR_RETURN(StartedStripe started, started_.pop(deadline_, "an all-gather to start"));
  Span span(Stage::exchange, "wait for the all-gather", frame);
  const std::uint64_t received = stripe.bytes() - stripe.unit_bytes[parts_.transfer.rank];
  CKPT_RETURN_IF_ERROR(started.work->wait(deadline_, stop_));
  CKPT_RETURN_IF_ERROR(started.times.wait(deadline_, stop_));
  span.add_bytes(received);
  totals(Stage::exchange).bytes += received;
  const StripeTimes::Spans spans = started.times.take(frame, stripe.unit_bytes[parts_.transfer.rank], received);
  if (!parts_.device.host_addressable()) totals(Stage::fill).busy += spans.copy;
  totals(Stage::exchange).busy += spans.gather;
  if (const auto ended = started.work->ended_at()) {
    totals(Stage::exchange).busy += std::max(*ended - std::max(started.begin, exchanged_until_), Duration::zero());
    exchanged_until_ = std::max(exchanged_until_, *ended);
  }
  return Status::success();
}

Status UpdateRun::exchanged_frame(std::uint32_t frame) {
  for (std::uint32_t stripe = 0; stripe < frames()[frame].stripes.size(); ++stripe)
    CKPT_RETURN_IF_ERROR(exchanged_stripe(frame, stripe).with_note("frame {}", frame));
  report(Stage::exchange);
  return Status::success();
}

Status UpdateRun::offer(std::uint32_t frame) {
  CKPT_FAULT_POINT("handover.before_offer");
  const Bucket& bucket = parts_.transfer.buckets->bucket(frame);
  Span span(Stage::handover, "offer", frame);
  const BusyTime busy(totals(Stage::handover));
  CKPT_RETURN_IF_ERROR(parts_.transfer.session->offer(frame, bucket.message, deadline_));
  span.add_bytes(bucket.tensor_bytes);
  totals(Stage::handover).bytes += bucket.tensor_bytes;
  CKPT_FAULT_POINT("handover.after_ack");
  return Status::success();
}

Status UpdateRun::hand_over() {
  for (std::uint32_t frame = 0; frame < frames().size(); ++frame) {
    CKPT_RETURN_IF_ERROR(checked(Stage::exchange, exchanged_frame(frame)));
    if (parts_.transfer.session != nullptr) {
      CKPT_RETURN_IF_ERROR(checked(Stage::handover, offer(frame)));
      report(Stage::handover);
    }
    free_slots_.push({});
  }
  return Status::success();
}

}  // namespace ckpt
