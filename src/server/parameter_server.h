/// One rank's server: registered checkpoints, and the updates that put them into engines. The top of everything below the command line.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/options.h"
#include "base/recorder.h"
#include "channel/bucket_session.h"
#include "channel/engine_driver.h"
#include "checkpoint/tensor_memory.h"
#include "device/device.h"
#include "hostpool/host_pool.h"
#include "pipeline/update_pipeline.h"
#include "plan/plan.h"
#include "rendezvous/group.h"
#include "server/caller_desk.h"
#include "server/registration.h"
#include "server/update_report.h"
#include "server/version_history.h"
#include "transfer/collective.h"

namespace ckpt {

/// What a rank registers: a directory, or else this rank's own share of files and tensors, which may be empty.
struct CheckpointSource {
  std::string directory;                   ///< a checkpoint that all ranks name: striped over them
  std::vector<std::string> files = {};     ///< stay whole on this rank
  std::vector<MemoryTensor> tensors = {};  ///< likewise; copied by register_checkpoint, not touched afterwards
};

/// The engines of this host, and how to speak to them.
struct UpdateTarget {
  /// Set: the caller makes the engines' update calls itself, each rank being told of all addresses, and the fields about engines are not used.
  CallerDesk* caller = nullptr;
  /// With `caller`: whose workers get the weights, the same on all ranks; the others only hold and send. Empty: all.
  std::vector<std::uint32_t> ranks = {};
  std::vector<std::string> endpoints;
  EngineKind engine = EngineKind::automatic;
  std::string unix_socket;  ///< of the engine's HTTP; for one endpoint
  std::uint32_t inference_parallel_size = 1;
  std::string weight_version;
  Dialect dialect = Dialect::automatic;
  bool keep_slots = false;
};

/// Bytes done by a stage of this rank, of its total. Called from any thread of the rank.
using StageProgress = std::function<void(Stage stage, std::uint64_t done_bytes, std::uint64_t total_bytes)>;

/// Owns the group, the device, the pool and everything that lives from update to update (pipeline, collective, plan, slots if kept).
/// Threads: one at a time. Every rank makes the same calls in the same order; gather_metas and update are collective.
/// Invariants: 1. a name maps to one registration. 2. a failed update leaves registrations as they were, and the next update works.
class ParameterServer {
 public:
  /// Finds this rank's device. Collective. unsupported: a device that is not there; invalid_argument: two ranks on one GPU.
  [[nodiscard]] static Result<std::unique_ptr<ParameterServer>> create(std::unique_ptr<Group> group, const Settings& settings,
                                                                       StageProgress progress);
  ~ParameterServer();

  /// Loads this rank's part of `source` into the pool.
  ///   already_exists     the name is taken; the registration that has it is untouched
  ///   not_found, data_corruption, invalid_argument, resource_exhausted    nothing is left behind
  [[nodiscard]] Status register_checkpoint(const std::string& name, const CheckpointSource& source, const RegisterOptions& options, Deadline deadline,
                                           const AbortSignal& abort);
  /// Gives the memory back to the pool, unless it is that of a version which is kept (keep_versions). not_found.
  [[nodiscard]] Status unregister_checkpoint(const std::string& name);
  /// What the pool keeps for checkpoints to come goes back to the system.
  void free_unused_memory() { pool_->free_unused(); }
  /// Versions whose name is not registered any more cannot be gone back to from now on; their memory is the pool's.
  void forget_kept_versions() { static_cast<void>(versions_.give_up("all kept versions were forgotten")); }
  /// Tells every rank what all hold. Collective.
  [[nodiscard]] Status gather_metas(const std::string& name, Deadline deadline, const AbortSignal& abort);
  /// The gathered metas as a JSON document (docs/format/metas.md). failed_precondition before gather_metas.
  [[nodiscard]] Result<std::string> metas_json(const std::string& name) const;

  /// Puts checkpoint `name` into the workers of `target`. Collective. Needs gather_metas(name) first. `abort` is one that trigger() ends, not a
  /// signal handler's (relay that). Every rank returns the same status:
  ///   not_found, failed_precondition, invalid_argument, resource_exhausted    nothing was started
  ///   unavailable, deadline_exceeded, remote_error, data_corruption           names stage, bucket and rank; the engines keep their version; the next
  ///   update works
  [[nodiscard]] Result<UpdateReport> update(const std::string& name, const UpdateTarget& target, Deadline deadline, const AbortSignal& abort);

  /// Puts the version before into the workers of `target`: after an update that failed the one that went well last, else the one before that. It is
  /// called by the name that it had, unless `target` has another. Collective. Returns as update; failed_precondition on every rank where there is no
  /// such version on all of them.
  [[nodiscard]] Result<UpdateReport> roll_back(UpdateTarget target, Deadline deadline, const AbortSignal& abort);

  /// After an update that failed: whether an engine may hold a mixture of two versions, until a whole one has come. The same on every rank.
  [[nodiscard]] bool engines_may_be_torn() const { return torn_; }
  /// Returns when every rank has called it. Collective.
  [[nodiscard]] Status barrier(const std::string& name, Deadline deadline, const AbortSignal& abort);

  [[nodiscard]] Group& group() { return *group_; }
  [[nodiscard]] Device& device() { return *device_; }

 private:
  friend class UpdateSession;
  ParameterServer(std::unique_ptr<Group> group, const Settings& settings, StageProgress progress);
  [[nodiscard]] Status prepare(Deadline deadline);

  [[nodiscard]] Result<std::shared_ptr<const CheckpointLayout>> first_layout(const Registration& registration) const;
  [[nodiscard]] Status load(Registration& registration, Deadline deadline, const AbortSignal& abort);
  [[nodiscard]] Status lay_out_shares(Registration& registration, Deadline deadline, const AbortSignal& abort);
  [[nodiscard]] Result<std::uint64_t> free_device_bytes();
  [[nodiscard]] Manifest own_manifest(const std::string& name, const Registration& registration, std::uint64_t free_bytes) const;
  [[nodiscard]] Result<UpdateReport> put(const std::string& name, Registration& registration, const UpdateTarget& target, Deadline deadline,
                                         const AbortSignal& abort);
  [[nodiscard]] Result<Version> agree_on_version_before(Deadline deadline);
  [[nodiscard]] Status ensure_epoch(Deadline deadline, const AbortSignal& abort);
  [[nodiscard]] Status make_collective(Deadline deadline);
  [[nodiscard]] Status ensure_collective(Deadline deadline, const AbortSignal& abort);
  [[nodiscard]] Status ensure_buffer(std::uint64_t bytes);
  void drop_buffer();
  void forget_transfer();

  std::unique_ptr<Group> group_;
  Settings settings_;
  StageProgress progress_;
  std::string host_;
  std::uint32_t num_local_ranks_ = 1;
  std::unique_ptr<Device> device_;
  std::unique_ptr<HostPool> pool_;
  std::map<std::string, std::shared_ptr<Registration>> registrations_;  // after the pool: shares go back before it ends
  VersionHistory versions_;                                             // likewise
  std::unique_ptr<Collective> collective_;
  std::unique_ptr<DeviceBuffer> buffer_;
  std::unique_ptr<UpdatePipeline> pipeline_;
  bool torn_ = false;
  std::array<StageTotals, kNumStages> totals_{};  // load and gather of the registration that the next report covers
};

}  // namespace ckpt
