/// One run of the pipeline: what its three stages do, and the queues between them.
#pragma once

#include "pipeline/blocking_queue.h"
#include "pipeline/stripe_marks.h"
#include "pipeline/update_pipeline.h"

namespace ckpt {

/// Invariants: 1. each number of `totals` is written by one thread only. 2. all ranks start the all-gathers in the order of frames and stripes.
/// 3. after fail() every stage returns without waiting.
class UpdateRun {
 public:
  struct Parts {
    Transfer transfer;
    Device& device;
    DeviceStream& fill_stream;
    DeviceStream& exchange_stream;
    TransferProgress progress;
    TransferTotals& totals;
  };
  UpdateRun(const Parts& parts, Deadline deadline);

  [[nodiscard]] Status fill();       ///< stage of the fill thread
  [[nodiscard]] Status exchange();   ///< stage of the exchange thread
  [[nodiscard]] Status hand_over();  ///< stage of the caller's thread

  /// The first error ends all stages. From any thread.
  void fail(const Status& status);
  [[nodiscard]] Status first_error() const { return stop_.check(); }

 private:
  struct FilledStripe {
    std::uint32_t frame;
    std::uint32_t stripe;
    StripeMarks marks;
  };
  struct StartedStripe {
    std::unique_ptr<Work> work;
    std::int64_t begin_ns;
    StripeMarks marks;
  };
  struct FreeSlot {};

  [[nodiscard]] Status fill_frame(std::uint32_t frame);
  [[nodiscard]] Status fill_stripe(std::uint32_t frame, std::uint32_t stripe);
  [[nodiscard]] Status exchange_all();
  [[nodiscard]] Status start_stripe(FilledStripe& ready);
  void count_on_device(std::uint32_t frame, std::uint64_t own_bytes, std::uint64_t received_bytes, const StartedStripe& started);
  void count_on_host(const StartedStripe& started);
  [[nodiscard]] Status exchanged_frame(std::uint32_t frame);
  [[nodiscard]] Status exchanged_stripe(std::uint32_t frame, std::uint32_t stripe_index);
  [[nodiscard]] Status offer(std::uint32_t frame);
  [[nodiscard]] Status checked(Stage stage, const Status& status);
  [[nodiscard]] const std::vector<Frame>& frames() const { return parts_.transfer.plan->layout->frames.frames; }
  [[nodiscard]] std::byte* slot_of(std::uint32_t frame) const;
  StageTotals& totals(Stage stage) { return parts_.totals[static_cast<std::size_t>(stage)]; }
  void report(Stage stage);

  Parts parts_;
  Deadline deadline_;
  TransferTotals expected_{};  // bytes that each stage will have done at its end: for the progress
  BlockingQueue<FreeSlot> free_slots_;
  BlockingQueue<FilledStripe> filled_;
  BlockingQueue<StartedStripe> started_;
  std::int64_t exchanged_until_ns_ = 0;  // of the hand-over's thread: all-gathers overlap, and a moment counts once
  AbortSignal stop_;
};

}  // namespace ckpt
