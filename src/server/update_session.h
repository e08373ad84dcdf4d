/// One update on one rank, step by step; the ranks agree after each step, so that all end with the same status.
///
///   plan ▸ ready (leaders wait for their engine) ▸ connect (sockets, slots, HTTP call, handle) ▸ transfer (pipeline)
///        ▸ release (workers let go of the buffer, native ones answer prepared) ▸ commit (workers finish, HTTP replies)
///        ▸ from "handle" on once more, where an engine's workers come again before it replies (a draft model)
///        ▸ settle (engines that were held since before the call go on)
///
/// Nothing is visible in any engine before every rank has agreed on release: an error before that leaves every engine with its version.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "os/abort_signal.h"
#include "server/engine_map.h"
#include "server/parameter_server.h"

namespace ckpt {

/// Threads: run() once, by one. The destructor closes the worker's session (with the abort message if it did not end well) and the HTTP call.
class UpdateSession {
 public:
  UpdateSession(ParameterServer& server, const std::string& name, Registration& registration, const UpdateTarget& target, Deadline deadline,
                const AbortSignal& abort);
  [[nodiscard]] Result<UpdateReport> run();
  /// After run() failed with `status`: whether an engine may hold a mixture of two versions. The same on every rank.
  [[nodiscard]] bool engines_may_be_torn(const Status& status) const;

 private:
  void end_waits(const Status& reason);
  [[nodiscard]] Status steps();
  [[nodiscard]] Status map_groups();
  [[nodiscard]] Status map_caller(std::uint32_t num_ranks);
  [[nodiscard]] Status make_plan_step();
  [[nodiscard]] Status wait_ready();
  [[nodiscard]] Status learn_of_engine();
  [[nodiscard]] Status open();
  void begin_transfer();
  [[nodiscard]] Status start_call();
  [[nodiscard]] Status deliver();
  [[nodiscard]] Status connect();
  [[nodiscard]] Status transfer();
  [[nodiscard]] Status release();
  [[nodiscard]] Status commit();
  [[nodiscard]] Result<bool> another_session();
  [[nodiscard]] Status remake_slots();
  [[nodiscard]] Status settle();
  [[nodiscard]] Status after_failure(const Status& failure);

  /// Runs a step under its stage's name and makes all ranks agree on its outcome.
  [[nodiscard]] Status step(Stage stage, const char* what, Status (UpdateSession::*work)());
  [[nodiscard]] Result<Dialect> session_dialect() const;
  [[nodiscard]] Result<UpdateReport> report();
  [[nodiscard]] Result<std::vector<WorkerAddress>> workers_of(std::uint32_t first_rank, std::uint32_t num_ranks) const;
  [[nodiscard]] Result<UpdateRequest> update_request() const;
  [[nodiscard]] Status said_by_engine(const Status& reply) const;
  /// What the engines call the weights afterwards.
  [[nodiscard]] const std::string& version() const { return target_.weight_version.empty() ? name_ : target_.weight_version; }
  void remember_dialect_found(bool update_ok);
  [[nodiscard]] bool call_is_over(const Status& outcome) const;
  [[nodiscard]] bool leads() const { return group_.endpoint.has_value() && group_.first_rank == rank_; }
  [[nodiscard]] bool drives() const { return group_.endpoint.has_value(); }
  [[nodiscard]] BucketSession* worker() const { return takes_part_ ? session_.get() : nullptr; }

  ParameterServer& server_;
  const std::string& name_;
  Registration& registration_;
  const UpdateTarget& target_;
  Deadline deadline_;
  std::uint32_t rank_;
  std::vector<std::uint64_t> free_bytes_;  // of each rank's device
  std::vector<EngineGroup> groups_;
  EngineGroup group_{0, 1, std::nullopt};    // this rank's
  EngineKind kind_ = EngineKind::automatic;  // of this rank's engine
  Dialect expected_ = Dialect::automatic;    // what its workers spoke last
  TimePoint begin_;
  std::array<StageTotals, kNumStages> totals_{};
  TransferTotals session_totals_{};  // of the session under way: a progress starts from nothing
  std::uint32_t num_sessions_ = 1;   // of each worker, so far
  bool takes_part_ = true;           // this rank's worker is there for the session under way; else the rank only sends
  bool touched_ = false;             // workers may have begun to load
  bool comes_again_ = false;         // the worker of this rank, which leads an engine, has come again
  bool any_may_come_again_ = false;
  bool any_gives_up_ = false;       // an engine gives its weights up before the new ones come
  bool all_stage_ = false;          // every engine keeps its weights until it commits the new ones: our own do
  bool waits_for_another_ = false;  // from the end of a session until it is known whether the worker comes again
  AbortSignal stop_;                // ends every wait of this update: Ctrl-C, a failed group, a bad HTTP reply
  AbortSignal call_over_;           // triggered by the reply too, good or bad
  AbortLink of_caller_;
  AbortLink of_group_;
  std::unique_ptr<EngineDriver> driver_;  // of a rank that leads; null where the caller makes the calls
  std::unique_ptr<BucketSession> session_;
  std::unique_ptr<EngineCall> call_;
  std::vector<std::string> addresses_;  // by rank
};

}  // namespace ckpt
