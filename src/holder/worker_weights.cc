#include "holder/worker_weights.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/fault_point.h"
#include "holder/shard_copy.h"
#include "os/threads.h"

namespace ckpt {
namespace {

constexpr unsigned kMostThreads = 4;

// The workers of one engine copy at the same time: they share the cores.
unsigned threads_for(std::uint32_t tp) { return std::clamp(usable_cores() / tp, 1u, kMostThreads); }

Result<HolderModel> read_model(int fd, std::uint64_t bytes) {
  CKPT_ASSIGN_OR_RETURN(const Mapping memory, Mapping::shared(fd, bytes, Access::read_only));
  return decode_model(Bytes(memory.span().begin(), memory.span().end()));
}

}  // namespace

Result<std::unique_ptr<WorkerWeights>> WorkerWeights::attach(const Hello& hello, std::vector<UniqueFd> fds) {
  if (fds.size() < 2 || hello.tp == 0 || hello.rank >= hello.tp)
    return Status(StatusCode::internal, Scope::process, "a greeting with {} descriptors for worker {} of {}", fds.size(), hello.rank, hello.tp);
  CKPT_ASSIGN_OR_RETURN(HolderModel model, read_model(fds[0].get(), hello.model_bytes));
  CKPT_ASSIGN_OR_RETURN(WorkerLayout layout, make_worker_layout(model, hello.tp, hello.rank));
  std::vector<Mapping> arenas;
  for (std::size_t i = 1; i < fds.size(); ++i) {
    CKPT_ASSIGN_OR_RETURN(Mapping arena, map_arena(fds[i].get(), layout.arena_bytes));
    arenas.push_back(std::move(arena));
  }
  return std::unique_ptr<WorkerWeights>(new WorkerWeights(std::move(model), std::move(layout), std::move(arenas), hello, threads_for(hello.tp)));
}

WorkerWeights::WorkerWeights(HolderModel model, WorkerLayout layout, std::vector<Mapping> arenas, const Hello& hello, unsigned threads)
    : model_(std::move(model)),
      index_(model_),
      layout_(std::move(layout)),
      arenas_(std::move(arenas)),
      rank_(hello.rank),
      threads_(threads),
      in_place_(hello.arena_in_place),
      crew_(threads) {}

Status WorkerWeights::make_ready(const Hello& hello) {
  for (const Mapping& arena : arenas_) CKPT_RETURN_IF_ERROR(take_memory(arena, threads_));
  if (hello.arena_in_place < 0) return Status::success();
  if (static_cast<std::size_t>(hello.arena_in_place) >= arenas_.size())
    return {StatusCode::internal, Scope::process, "arena {} of {} is in place", hello.arena_in_place, arenas_.size()};
  return check_digests(arenas_[static_cast<std::size_t>(hello.arena_in_place)]);
}

Status WorkerWeights::check_digests(const Mapping& arena) {
  constexpr std::size_t kNone = ~std::size_t{0};
  std::atomic<std::size_t> bad{kNone};
  crew_.run(layout_.shards.size(), [&](std::size_t i) {
    std::uint64_t expected = 0;
    std::memcpy(&expected, arena.data() + layout_.digests_offset_bytes + i * sizeof expected, sizeof expected);
    const PlacedShard& placed = layout_.shards[i];
    if (digest_of(arena.span().subspan(placed.offset_bytes, placed.shard.bytes())) != expected) bad = i;
  });
  if (bad == kNone) return Status::success();
  return {StatusCode::data_corruption, Scope::process, "the weights in place are damaged: tensor {} does not have its digest",
          model_.parameters[bad].name};
}

Status WorkerWeights::receive(const StageUpdate& request, const AbortSignal& abort, StagingReport& report) {
  if (request.arena >= arenas_.size() || (arenas_.size() > 1 && in_place_ == static_cast<std::int64_t>(request.arena)))
    return {StatusCode::internal, Scope::process, "asked to stage into arena {} of {} while {} is in place",
            request.arena,        arenas_.size(), in_place_.load()};
  ShardSink sink(model_, index_, layout_, arenas_[request.arena].span(), crew_);
  ReceiveOptions options;
  options.address = request.address;
  options.heartbeat_interval = Duration(request.heartbeat_interval_ns);
  options.heartbeat_timeout = Duration(request.heartbeat_timeout_ns);
  const Status status = receive_update(options, sink, Deadline::after(Duration(request.timeout_ns)), abort);
  report = sink.report();
  return status;
}

UpdateOutcome WorkerWeights::stage(const StageUpdate& request, const AbortSignal& abort) {
  const TimePoint begin = Clock::real().now();
  StagingReport report;
  UpdateOutcome outcome;
  outcome.update = request.update;
  outcome.status = receive(request, abort, report).with_note("worker {}", rank_);
  outcome.touched_arena = report.touched_arena;
  outcome.bytes = report.bytes;
  outcome.receive_seconds = seconds(Clock::real().now() - begin);
  outcome.apply_seconds = seconds(report.apply_time);
  outcome.prepare_seconds = seconds(report.prepare_time);
  return outcome;
}

}  // namespace ckpt
