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
  StripeMarks marks;
  if (!on_host) {
    CKPT_ASSIGN_OR_RETURN(marks.copy_begins, parts_.fill_stream.record());
  }
  std::byte* slot = slot_of(frame);
  for (const CopyRun& run : parts_.transfer.share->runs(frame, stripe)) {
    CKPT_RETURN_IF_ERROR(parts_.fill_stream.copy_from_host(slot + run.frame_offset_bytes, {run.source, run.bytes}));
    span.add_bytes(run.bytes);
    totals(Stage::fill).bytes += run.bytes;
  }
  CKPT_ASSIGN_OR_RETURN(marks.copied, parts_.fill_stream.record());
  if (on_host) CKPT_RETURN_IF_ERROR(marks.copied->wait(deadline_, stop_));  // the carrier reads the unit with the cores of this host
  filled_.push({frame, stripe, std::move(marks)});
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
    CKPT_RETURN_IF_ERROR(stream->wait_for(*ready.marks.copied));
    CKPT_ASSIGN_OR_RETURN(ready.marks.gather_begins, stream->record());
  }
  const std::int64_t begin_ns = wall_time_ns();
  CKPT_ASSIGN_OR_RETURN(auto work, parts_.transfer.collective->all_gather(slot_of(ready.frame) + stripe.offset_bytes, stripe.unit_bytes, stream));
  started_.push({std::move(work), begin_ns, std::move(ready.marks)});
  return Status::success();
}

Status UpdateRun::exchanged_stripe(std::uint32_t frame, std::uint32_t stripe_index) {
  const Stripe& stripe = frames()[frame].stripes[stripe_index];
  CKPT_ASSIGN_OR_RETURN(StartedStripe started, started_.pop(deadline_, "an all-gather to start"));
  Span span(Stage::exchange, "wait for the all-gather", frame);
  const std::uint64_t received = stripe.bytes() - stripe.unit_bytes[parts_.transfer.rank];
  CKPT_RETURN_IF_ERROR(started.work->wait(deadline_, stop_));
  span.add_bytes(received);
  totals(Stage::exchange).bytes += received;
  if (parts_.device.host_addressable())
    count_on_host(started);
  else
    count_on_device(frame, stripe.unit_bytes[parts_.transfer.rank], received, started);
  return Status::success();
}

void UpdateRun::count_on_device(std::uint32_t frame, std::uint64_t own_bytes, std::uint64_t received_bytes, const StartedStripe& started) {
  const StripeMarks& marks = started.marks;
  totals(Stage::fill).busy +=
      record_device_span(Stage::fill, "copy on the GPU", frame, own_bytes, marks.copy_begins->reached_at_ns(), marks.copied->reached_at_ns());
  totals(Stage::exchange).busy += record_device_span(Stage::exchange, "all-gather on the GPU", frame, received_bytes,
                                                     marks.gather_begins->reached_at_ns(), started.work->ended_at_ns());
}

void UpdateRun::count_on_host(const StartedStripe& started) {
  const auto ended_ns = started.work->ended_at_ns();
  if (!ended_ns) return;
  totals(Stage::exchange).busy += Duration(std::max(*ended_ns - std::max(started.begin_ns, exchanged_until_ns_), std::int64_t{0}));
  exchanged_until_ns_ = std::max(exchanged_until_ns_, *ended_ns);
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
  CKPT_RETURN_IF_ERROR(parts_.transfer.session->offer(frame, bucket.message(parts_.transfer.session->dialect()), deadline_));
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
