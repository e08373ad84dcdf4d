#include "holder/front.h"

#include "base/fault_point.h"
#include "base/log.h"
#include "base/recorder.h"
#include "holder/handle_map.h"
#include "holder/memory_room.h"

namespace ckpt {
namespace {

constexpr Duration kAbortTimeout = std::chrono::seconds(5);   // for a worker to end an update when told to
constexpr Duration kKillTimeout = std::chrono::seconds(5);    // for the system to end a killed one
constexpr Duration kFollowTimeout = std::chrono::seconds(5);  // for the workers to follow a commit, which holds without them

Status check_room(const std::vector<WorkerLayout>& layouts, bool in_place) {
  std::uint64_t one_copy = 0;
  for (const WorkerLayout& layout : layouts) one_copy += layout.arena_bytes;
  return check_room_for_weights(one_copy, in_place, memory_room());
}

// A worker whose session was merely ended by the other side is not where it went wrong, even if it said so first.
bool is_echo(const Status& status) {
  return status.scope() == Scope::peer && (status.code() == StatusCode::cancelled || status.code() == StatusCode::unavailable);
}

Status root_cause(const Status& first, const UpdateRound& round) {
  if (!is_echo(first)) return first;
  for (const auto& worker : round.outcomes())
    if (worker && !worker->status.ok() && !is_echo(worker->status)) return worker->status;
  return first;
}

}  // namespace

Result<std::unique_ptr<HolderFront>> HolderFront::start(const HolderOptions& options, HolderMetrics& metrics) {
  CKPT_ASSIGN_OR_RETURN(HolderModel model, load_model(options.model_dir));
  std::vector<WorkerLayout> layouts;
  for (std::uint32_t rank = 0; rank < options.tp; ++rank) {
    CKPT_ASSIGN_OR_RETURN(WorkerLayout layout, make_worker_layout(model, options.tp, rank));
    layouts.push_back(std::move(layout));
  }
  CKPT_RETURN_IF_ERROR(check_room(layouts, options.in_place));
  CKPT_ASSIGN_OR_RETURN(FrontMemory memory, FrontMemory::create(model, layouts, options.in_place));
  std::unique_ptr<HolderFront> front(new HolderFront(options, metrics, std::move(model), std::move(layouts), std::move(memory)));
  CKPT_RETURN_IF_ERROR(front->start_workers());
  return front;
}

HolderFront::HolderFront(const HolderOptions& options, HolderMetrics& metrics, HolderModel model, std::vector<WorkerLayout> layouts,
                         FrontMemory memory)
    : options_(options),
      metrics_(metrics),
      model_(std::move(model)),
      layouts_(std::move(layouts)),
      memory_(std::move(memory)),
      nothing_(std::make_shared<const std::string>(workers_json(model_, layouts_, {}))),
      view_{std::nullopt, HolderState::empty, options.tp, nothing_},
      missing_(options.tp) {
  for (std::uint32_t rank = 0; rank < options.tp; ++rank) missing_[rank] = fmt::format("worker {} is starting", rank);
  metrics_.show_weights(view_.version, name(view_.state));
}

HolderFront::~HolderFront() {
  stop();
  join();
}

void HolderFront::join() {
  for (const auto& keeper : keepers_) keeper->join();
}

WorkerSpec HolderFront::spec_of(std::uint32_t rank) const {
  WorkerSpec spec;
  spec.rank = rank;
  spec.tp = options_.tp;
  spec.command = prefixed_command(options_.worker_prefix, rank, options_.worker_command);
  spec.fds = {memory_.model.get()};
  for (const UniqueFd& arena : memory_.arenas[rank]) spec.fds.push_back(arena.get());
  spec.model_bytes = memory_.model_bytes;
  spec.heartbeat_interval = options_.heartbeat_interval;
  spec.heartbeat_timeout = options_.heartbeat_timeout;
  return spec;
}

Status HolderFront::start_workers() {
  for (std::uint32_t rank = 0; rank < options_.tp; ++rank) keepers_.push_back(std::make_unique<WorkerKeeper>(spec_of(rank), *this));
  for (const auto& keeper : keepers_) CKPT_RETURN_IF_ERROR(keeper->start());
  return Status::success();
}

void HolderFront::stop() {
  std::shared_ptr<UpdateRound> round;
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
    round = round_;
  }
  if (round) round->fail({StatusCode::cancelled, Scope::process, "the engine is being shut down"});
  for (const auto& keeper : keepers_) keeper->stop();
}

// ---- what the workers report

void HolderFront::on_ready(std::uint32_t rank, const Status& weights) {
  const MutexLock lock(mutex_);
  missing_[rank].clear();
  if (weights.ok()) return;
  log_error("worker {}: {}", rank, weights.to_string());
  damaged_ = true;
  if (!round_) show_damaged_locked();
}

void HolderFront::on_lost(std::uint32_t rank, const Status& reason) {
  std::shared_ptr<UpdateRound> round;
  {
    const MutexLock lock(mutex_);
    missing_[rank] = reason.message();
    round = round_;
    if (!stopping_) metrics_.worker_lost();
  }
  if (round) round->set_lost(rank, reason);
}

void HolderFront::on_outcome(std::uint32_t rank, const UpdateOutcome& outcome) {
  if (const auto round = current_round()) round->set(rank, outcome);
}

void HolderFront::on_committed(std::uint32_t rank, std::uint64_t update) {
  if (const auto round = current_round()) round->set_committed(rank, update);
}

// ---- what clients ask

std::shared_ptr<UpdateRound> HolderFront::current_round() const {
  const MutexLock lock(mutex_);
  return round_;
}

WeightsView HolderFront::weights() const {
  const MutexLock lock(mutex_);
  return view_;
}

bool HolderFront::has_committed() const {
  const MutexLock lock(mutex_);
  return last_commit_ != 0;
}

Status HolderFront::ready() const {
  const MutexLock lock(mutex_);
  return ready_locked();
}

Status HolderFront::ready_locked() const {
  if (stopping_) return {StatusCode::unavailable, Scope::process, "the engine is being shut down"};
  for (std::size_t rank = 0; rank < missing_.size(); ++rank) {
    if (!missing_[rank].empty()) return {StatusCode::unavailable, Scope::process, "no update can be taken now: {}", missing_[rank]};
    if (!keepers_[rank]->connected()) return {StatusCode::unavailable, Scope::process, "no update can be taken now: worker {} is ending", rank};
  }
  return Status::success();
}

// ---- the transaction

Status HolderFront::update(const UpdateCall& call) {
  const TimePoint begin = Clock::real().now();
  CKPT_ASSIGN_OR_RETURN(const std::string boot_id, read_boot_id());
  CKPT_ASSIGN_OR_RETURN(const std::vector<std::string> addresses, addresses_of_workers(call.handles, options_.tp, boot_id));
  CKPT_ASSIGN_OR_RETURN(const Begun begun, begin_round());
  Status outcome = stage_all(begun, addresses);
  if (outcome.ok()) outcome = commit(begun, call.weight_version);
  if (!outcome.ok()) {
    abandon(*begun.round, outcome);
    outcome = root_cause(outcome, *begun.round);
  }
  end_round(begun, outcome);
  observe(*begun.round, outcome, Clock::real().now() - begin);
  return outcome;
}

Result<HolderFront::Begun> HolderFront::begin_round() {
  const MutexLock lock(mutex_);
  if (round_) return Status(StatusCode::failed_precondition, Scope::operation, "another update is running").advise("wait for its end");
  CKPT_RETURN_IF_ERROR(ready_locked());
  round_ = std::make_shared<UpdateRound>(++last_update_, options_.tp);
  const std::uint32_t arena = options_.in_place || arena_in_place_ != 0u ? 0 : 1;
  Begun begun{round_, view_, arena};
  view_.state = HolderState::updating;
  if (options_.in_place) {  // nothing whole from the first byte on
    view_.version.reset();
    view_.workers = nothing_;
  }
  show_locked();
  return begun;
}

Status HolderFront::stage_all(const Begun& begun, const std::vector<std::string>& addresses) {
  const Deadline deadline = Deadline::after(options_.update_timeout);
  StageUpdate request;
  request.update = begun.round->update();
  request.arena = begun.arena;
  request.timeout_ns = options_.update_timeout.count();
  request.heartbeat_interval_ns = options_.heartbeat_interval.count();
  request.heartbeat_timeout_ns = options_.heartbeat_timeout.count();
  for (std::uint32_t rank = 0; rank < options_.tp; ++rank) {
    request.address = addresses[rank];
    if (const Status status = keepers_[rank]->start_update(request); !status.ok()) begun.round->set_lost(rank, status);
  }
  return begun.round->wait_prepared(deadline);
}

// Returns when no worker is at the update any more: the arena it was staged into is free again.
void HolderFront::abandon(UpdateRound& round, const Status& reason) {
  for (const auto& keeper : keepers_) keeper->abort_update(round.update(), reason);
  if (round.wait_outcomes(Deadline::after(kAbortTimeout))) return;
  const auto outcomes = round.outcomes();
  for (std::uint32_t rank = 0; rank < options_.tp; ++rank)
    if (!outcomes[rank]) keepers_[rank]->kill("it did not end an update that was aborted");
  if (!round.wait_outcomes(Deadline::after(kKillTimeout))) log_error("a worker does not end although it was killed");
}

Status HolderFront::commit(const Begun& begun, const std::string& version) {
  const TimePoint begin = Clock::real().now();
  CKPT_FAULT_POINT("holder.before_commit");
  CKPT_ASSIGN_OR_RETURN(const auto digests, memory_.read_digests(layouts_, begun.arena));
  switch_to(version, begun.arena, std::make_shared<const std::string>(workers_json(model_, layouts_, digests)));
  for (const auto& keeper : keepers_) keeper->commit({begun.round->update(), begun.arena});
  if (!begun.round->wait_committed(Deadline::after(kFollowTimeout))) log_warning("a worker has not followed the commit yet");
  metrics_.stage_ended(name(Stage::commit), seconds(Clock::real().now() - begin));
  return Status::success();
}

// The commit.
void HolderFront::switch_to(const std::string& version, std::uint32_t arena, std::shared_ptr<const std::string> workers) {
  const MutexLock lock(mutex_);
  arena_in_place_ = arena;
  last_commit_ = last_update_;
  damaged_ = false;
  view_.version = version.empty() ? std::nullopt : std::optional<std::string>(version);
  view_.state = HolderState::serving;
  view_.workers = std::move(workers);
  show_locked();
}

void HolderFront::end_round(const Begun& begun, const Status& outcome) {
  bool torn = false;
  if (!outcome.ok() && options_.in_place)
    for (const auto& worker : begun.round->outcomes()) torn = torn || !worker || worker->touched_arena;
  if (torn)
    for (const auto& keeper : keepers_) keeper->forget_weights();
  const MutexLock lock(mutex_);
  round_.reset();
  if (outcome.ok()) return;
  view_ = begun.before;
  damaged_ = damaged_ || torn;
  if (damaged_) {
    show_damaged_locked();
  } else {
    show_locked();
  }
}

void HolderFront::show_damaged_locked() {
  view_.version.reset();
  view_.state = HolderState::torn;
  view_.workers = nothing_;
  show_locked();
}

void HolderFront::show_locked() { metrics_.show_weights(view_.version, name(view_.state)); }

void HolderFront::observe(UpdateRound& round, const Status& outcome, Duration duration) {
  metrics_.update_ended(name(outcome.code()), seconds(duration));
  for (const auto& worker : round.outcomes()) {
    if (!worker || !worker->status.ok()) continue;
    metrics_.weights_received(worker->bytes);
    metrics_.stage_ended("receive", worker->receive_seconds);
    metrics_.stage_ended("apply", worker->apply_seconds);
    metrics_.stage_ended("prepare", worker->prepare_seconds);
  }
  if (outcome.ok()) {
    log_info("update {} is in place after {}", round.update(), format_duration(duration));
  } else {
    log_error("update {} failed after {}: {}", round.update(), format_duration(duration), outcome.to_string());
  }
}

}  // namespace ckpt
