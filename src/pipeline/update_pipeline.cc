#include "pipeline/update_pipeline.h"

#include "os/abort_relay.h"
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

Status UpdatePipeline::run(const Transfer& transfer, Deadline deadline, const AbortSignal& abort, const TransferProgress& progress,
                           TransferTotals& totals) {
  UpdateRun run({transfer, *device_, *fill_stream_, *exchange_stream_, progress, totals}, deadline);
  const AbortRelay relay({&abort}, [&run](const Status& reason) { run.fail(reason); });
  fill_thread_.start([&run] { return run.fill(); });
  exchange_thread_.start([&run] { return run.exchange(); });
  const Status handed_over = run.hand_over();
  const Status filled = fill_thread_.join();
  const Status exchanged = exchange_thread_.join();
  CKPT_RETURN_IF_ERROR(run.first_error());  // whichever stage it came from
  CKPT_RETURN_IF_ERROR(filled);
  CKPT_RETURN_IF_ERROR(exchanged);
  return handed_over;
}

}  // namespace ckpt
