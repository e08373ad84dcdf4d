/// The front's heart: which version is in place, and the transaction that replaces it.
///
///   workers stage into the arena that is not in place ─▶ all *prepared* ─▶ one switch here is the commit ─▶ workers follow
///
/// Any failure before the switch leaves the version before, in memory that no update writes to.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/thread_annotations.h"
#include "holder/front_memory.h"
#include "holder/holder.h"
#include "holder/metrics.h"
#include "holder/update_round.h"
#include "holder/weights_view.h"
#include "holder/worker_keeper.h"

namespace ckpt {

/// What an update call asks for.
struct UpdateCall {
  std::map<std::string, std::string> handles;  ///< device key → session address
  std::string weight_version;                  ///< empty: none
};

/// Owns the workers and their memory. Threads: any; update() refuses a second caller.
/// Invariants: 1. the view changes version only in switch_to. 2. With two arenas, no worker is told to write the one in place.
class HolderFront final : public WorkerListener {
 public:
  /// Makes the arenas and starts the workers; does not wait for them. `metrics` must outlive it.
  [[nodiscard]] static Result<std::unique_ptr<HolderFront>> start(const HolderOptions& options, HolderMetrics& metrics);
  ~HolderFront() override;

  /// Blocks until the commit, or until the update has failed in all workers and everything is free again.
  ///   failed_precondition   another update is running      unavailable        a worker is not there
  ///   invalid_argument      the handle map                 others             from the worker that failed first; its number is in the text
  [[nodiscard]] Status update(const UpdateCall& call) CKPT_EXCLUDES(mutex_);

  /// ok when every worker can take an update; else unavailable with what is missing.
  [[nodiscard]] Status ready() const CKPT_EXCLUDES(mutex_);
  [[nodiscard]] WeightsView weights() const CKPT_EXCLUDES(mutex_);
  /// Whether an update has ever succeeded.
  [[nodiscard]] bool has_committed() const CKPT_EXCLUDES(mutex_);
  /// Fails the update under way, if any, and begins to end the workers. From then on every update is refused.
  void stop() CKPT_EXCLUDES(mutex_);
  /// After stop(): waits until no worker process is left, about 2 s at most.
  void join();

 private:
  struct Begun {
    std::shared_ptr<UpdateRound> round;
    WeightsView before;
    std::uint32_t arena;  // to stage into
  };
  HolderFront(const HolderOptions& options, HolderMetrics& metrics, HolderModel model, std::vector<WorkerLayout> layouts, FrontMemory memory);

  void on_ready(std::uint32_t rank, const Status& weights) override CKPT_EXCLUDES(mutex_);
  void on_lost(std::uint32_t rank, const Status& reason) override CKPT_EXCLUDES(mutex_);
  void on_outcome(std::uint32_t rank, const UpdateOutcome& outcome) override CKPT_EXCLUDES(mutex_);
  void on_committed(std::uint32_t rank, std::uint64_t update) override CKPT_EXCLUDES(mutex_);

  [[nodiscard]] Status start_workers();
  [[nodiscard]] WorkerSpec spec_of(std::uint32_t rank) const;
  [[nodiscard]] Result<Begun> begin_round() CKPT_EXCLUDES(mutex_);
  [[nodiscard]] Status stage_all(const Begun& begun, const std::vector<std::string>& addresses);
  void abandon(UpdateRound& round, const Status& reason);
  [[nodiscard]] Status commit(const Begun& begun, const std::string& version) CKPT_EXCLUDES(mutex_);
  void switch_to(const std::string& version, std::uint32_t arena, std::shared_ptr<const std::string> workers) CKPT_EXCLUDES(mutex_);
  void end_round(const Begun& begun, const Status& outcome) CKPT_EXCLUDES(mutex_);
  void observe(UpdateRound& round, const Status& outcome, Duration duration);
  [[nodiscard]] std::shared_ptr<UpdateRound> current_round() const CKPT_EXCLUDES(mutex_);
  [[nodiscard]] Status ready_locked() const CKPT_REQUIRES(mutex_);
  void show_damaged_locked() CKPT_REQUIRES(mutex_);
  void show_locked() CKPT_REQUIRES(mutex_);

  const HolderOptions options_;
  HolderMetrics& metrics_;
  const HolderModel model_;
  const std::vector<WorkerLayout> layouts_;
  const FrontMemory memory_;
  const std::shared_ptr<const std::string> nothing_;  // the workers of a view that shows none of their tensors
  mutable Mutex mutex_;
  WeightsView view_ CKPT_GUARDED_BY(mutex_);
  std::optional<std::uint32_t> arena_in_place_ CKPT_GUARDED_BY(mutex_);
  std::uint64_t last_update_ CKPT_GUARDED_BY(mutex_) = 0;
  std::uint64_t last_commit_ CKPT_GUARDED_BY(mutex_) = 0;
  std::shared_ptr<UpdateRound> round_ CKPT_GUARDED_BY(mutex_);  // shared with the call that runs it; set while an update runs
  std::vector<std::string> missing_ CKPT_GUARDED_BY(mutex_);    // per worker: why it cannot take an update; empty: it can
  bool damaged_ CKPT_GUARDED_BY(mutex_) = false;                // what is in place failed its check, or was torn
  bool stopping_ CKPT_GUARDED_BY(mutex_) = false;
  std::vector<std::unique_ptr<WorkerKeeper>> keepers_;  // last: their threads call back
};

}  // namespace ckpt
