/// What one worker holds: the model, where its shards lie, and its arenas. The bottom of the data path.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "holder/arena.h"
#include "holder/control_messages.h"
#include "holder/control_socket.h"
#include "holder/copy_crew.h"
#include "holder/shard_sink.h"
#include "holder/worker_layout.h"

namespace ckpt {

/// Built from the front's Hello. Threads: one, but for `committed`.
/// Invariant: with two arenas, the one in place is never written.
class WorkerWeights {
 public:
  /// Maps everything; takes no memory yet.
  [[nodiscard]] static Result<std::unique_ptr<WorkerWeights>> attach(const Hello& hello, std::vector<UniqueFd> fds);

  /// Takes the memory of all arenas, then checks the one in place, if any, against its digests.
  ///   resource_exhausted   not enough memory     data_corruption   names the first shard that is not what it was
  [[nodiscard]] Status make_ready(const Hello& hello);

  /// Runs one session into arena `request.arena`. The outcome's status names the worker.
  [[nodiscard]] UpdateOutcome stage(const StageUpdate& request, const AbortSignal& abort);
  /// The front has switched: `arena` is in place now. From any thread.
  void committed(std::uint32_t arena) { in_place_ = static_cast<std::int64_t>(arena); }

 private:
  WorkerWeights(HolderModel model, WorkerLayout layout, std::vector<Mapping> arenas, const Hello& hello, unsigned threads);
  [[nodiscard]] Status receive(const StageUpdate& request, const AbortSignal& abort, StagingReport& report);
  [[nodiscard]] Status check_digests(const Mapping& arena);

  const HolderModel model_;
  const ParameterIndex index_;
  const WorkerLayout layout_;
  const std::vector<Mapping> arenas_;
  const std::uint32_t rank_;
  const unsigned threads_;
  std::atomic<std::int64_t> in_place_;  // index of the arena; -1: none
  CopyCrew crew_;
};

}  // namespace ckpt
