#include "pipeline/update_pipeline.h"

#include "base/check.h"
#include "pipeline/update_run.h"

namespace ckpt {

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
  CKPT_RETURN_IF_ERROR(run->first_error());  // whichever stage it came from
  CKPT_RETURN_IF_ERROR(filled);
  CKPT_RETURN_IF_ERROR(exchanged);
  return last;
}

}  // namespace ckpt
