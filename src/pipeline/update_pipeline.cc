#include "pipeline/update_pipeline.h"

#include "base/check.h"
#include "base/log.h"
#include "pipeline/update_run.h"

namespace ckpt {
namespace {

constexpr Duration kLongestCopy = std::chrono::seconds(5);

}  // namespace

Result<std::unique_ptr<UpdatePipeline>> UpdatePipeline::create(Device& device) {
  std::unique_ptr<UpdatePipeline> pipeline(new UpdatePipeline(device));
  CKPT_ASSIGN_OR_RETURN(pipeline->fill_stream_, device.create_stream());
  CKPT_ASSIGN_OR_RETURN(pipeline->exchange_stream_, device.create_stream());
  CKPT_RETURN_IF_ERROR(pipeline->fill_thread_.create());
  CKPT_RETURN_IF_ERROR(pipeline->exchange_thread_.create());
  return pipeline;
}

UpdatePipeline::UpdatePipeline(Device& device) : device_(&device) {}

UpdatePipeline::~UpdatePipeline() { cancel(Status(StatusCode::cancelled, Scope::operation, "the pipeline ends")); }

void UpdatePipeline::begin(const Transfer& transfer, Deadline deadline, const AbortSignal& abort, const TransferProgress& progress,
                           TransferTotals& totals) {
  CKPT_CHECK(run_ == nullptr);
  run_ = std::make_unique<UpdateRun>(UpdateRun::Parts{transfer, *device_, *fill_stream_, *exchange_stream_, progress, totals}, deadline);
  link_ = std::make_unique<AbortLink>(abort, [run = run_.get()](const Status& reason) { run->fail(reason); });
  fill_thread_.start([run = run_.get()] { return run->fill(); });
  exchange_thread_.start([run = run_.get()] { return run->exchange(); });
}

Status UpdatePipeline::end() {
  CKPT_CHECK(run_ != nullptr);
  return stop(run_->hand_over());
}

void UpdatePipeline::cancel(const Status& reason) {
  if (run_ == nullptr) return;
  run_->fail(reason);
  static_cast<void>(stop(reason));
}

Status UpdatePipeline::stop(const Status& last) {
  const Status filled = fill_thread_.join();
  const Status exchanged = exchange_thread_.join();
  link_.reset();
  const std::unique_ptr<UpdateRun> run = std::move(run_);
  Status outcome = run->first_error();  // whichever stage it came from
  for (const Status& other : {filled, exchanged, last})
    if (outcome.ok()) outcome = other;
  if (!outcome.ok()) finish_copies();
  return outcome;
}

/// Those that were queued when the run failed go on by themselves, from the share into the buffer: both may end next.
void UpdatePipeline::finish_copies() {
  const AbortSignal never;
  const Result<std::unique_ptr<DeviceEvent>> last_copy = fill_stream_->record();
  const Status done = last_copy.ok() ? (*last_copy)->wait(Deadline::after(kLongestCopy), never) : last_copy.status();
  if (!done.ok()) log_warning("the copies of an update that failed do not end: {}", done.to_string());
}

}  // namespace ckpt
