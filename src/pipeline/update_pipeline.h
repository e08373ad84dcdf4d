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

class UpdateRun;

/// Owns the stages' threads and streams, which live from update to update. Threads: one at a time.
class UpdatePipeline {
 public:
  /// `device` must outlive it.
  [[nodiscard]] static Result<std::unique_ptr<UpdatePipeline>> create(Device& device);
  ~UpdatePipeline();  ///< cancels what was begun

  /// Starts to fill and exchange as many frames as there are slots: workers need not be there yet. Everything given must outlive end() or cancel(),
  /// one of which follows. The session's abort is called when a stage fails.
  void begin(const Transfer& transfer, Deadline deadline, const AbortSignal& abort, const TransferProgress& progress, TransferTotals& totals);
  /// Hands all frames over. Returns when every stage has stopped, whatever happened: afterwards nothing of the pipeline touches the transfer;
  /// operations of an aborted collective may, until it is destroyed. The first error of any stage, with stage and frame; `abort`'s reason;
  /// deadline_exceeded.
  [[nodiscard]] Status end();
  /// Stops all stages of what was begun, for a reason from elsewhere; nothing if nothing was begun.
  void cancel(const Status& reason);

 private:
  explicit UpdatePipeline(Device& device);
  [[nodiscard]] Status stop(const Status& last);
  void finish_copies();

  Device* device_;
  std::unique_ptr<DeviceStream> fill_stream_;
  std::unique_ptr<DeviceStream> exchange_stream_;
  std::unique_ptr<UpdateRun> run_;   // between begin() and end()
  std::unique_ptr<AbortLink> link_;  // of `run_`: ends before it
  StageThread fill_thread_;
  StageThread exchange_thread_;
};

}  // namespace ckpt
