/// Carries out a plan on one rank: host pool ▸ fill ▸ exchange ▸ hand-over ▸ worker, all three stages at once over the slots.
///
///   fill thread       waits for a free slot; copies this rank's units, stripe by stripe
///   exchange thread   starts the all-gather of each stripe as soon as its unit is filled
///   hand-over         (the caller's thread) waits for a frame's all-gathers, offers it to the worker, frees the slot
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>

#include "base/recorder.h"
#include "channel/bucket_session.h"
#include "device/device.h"
#include "hostpool/host_pool.h"
#include "os/abort_signal.h"
#include "pipeline/bucket_table.h"
#include "pipeline/stage_thread.h"
#include "transfer/collective.h"

namespace ckpt {

/// Everything that one update moves on this rank. All borrowed, and left alone by others until run() returns.
struct Transfer {
  const Plan* plan;
  const BucketTable* buckets;
  const PoolShare* share;
  std::uint32_t rank;
  DeviceBuffer* buffer;
  Collective* collective;
  BucketSession* session;  ///< null: this rank only holds and sends
};

/// Bytes, and the time that a stage was at work (waiting for other stages left out).
struct StageTotals {
  std::uint64_t bytes = 0;
  Duration busy{};
};
using TransferTotals = std::array<StageTotals, kNumStages>;

/// Called from the stages' threads, once a stripe or bucket: bytes done by `stage` so far, of `total_bytes`.
using TransferProgress = std::function<void(Stage stage, std::uint64_t done_bytes, std::uint64_t total_bytes)>;

/// Owns the stages' threads and streams, which live from update to update. Threads: run() by one at a time.
class UpdatePipeline {
 public:
  /// `device` must outlive it.
  [[nodiscard]] static Result<std::unique_ptr<UpdatePipeline>> create(Device& device);

  /// Moves all frames. Returns when every stage has stopped, whatever happened: afterwards no thread of the pipeline touches the transfer; operations
  /// of an aborted collective may, until it is destroyed. The first error of any stage, with stage and frame; `abort`'s reason; deadline_exceeded.
  [[nodiscard]] Status run(const Transfer& transfer, Deadline deadline, const AbortSignal& abort, const TransferProgress& progress,
                           TransferTotals& totals);

 private:
  explicit UpdatePipeline(Device& device) : device_(&device) {}

  Device* device_;
  std::unique_ptr<DeviceStream> fill_stream_;
  std::unique_ptr<DeviceStream> exchange_stream_;
  StageThread fill_thread_;
  StageThread exchange_thread_;
};

}  // namespace ckpt
