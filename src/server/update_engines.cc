// The steps of an update that speak with engines and their workers.
#include <algorithm>

#include "base/fault_point.h"
#include "channel/dialect_memory.h"
#include "server/session_dirs.h"
#include "server/update_session.h"

namespace ckpt {
namespace {

/// A model and its draft models: bounded, so that an engine gone wild does not hold the ranks.
constexpr std::uint32_t kMaxSessions = 8;

/// How long an engine that was held may take after a failure to say what became of its weights, and to go on.
constexpr Duration kSettleTimeout = std::chrono::seconds(4);

}  // namespace

Status UpdateSession::wait_ready() {
  CKPT_FAULT_POINT("connect.begin");
  if (!leads() || target_.caller != nullptr) return Status::success();
  EngineOptions options;
  options.endpoint = target_.endpoints[*group_.endpoint];
  options.unix_socket = target_.unix_socket;
  options.kind = target_.engine;
  options.api_key = server_.settings_.text("api_key");
  options.post_timeout = server_.settings_.duration("post_timeout");
  CKPT_ASSIGN_OR_RETURN(driver_, make_engine_driver(options));
  CKPT_RETURN_IF_ERROR(driver_->wait_ready(deadline_.capped(server_.settings_.duration("ready_timeout")), stop_));
  kind_ = driver_->kind();
  CKPT_ASSIGN_OR_RETURN(const std::string remembered, dialect_file());
  const Dialect told = driver_->told_dialect();
  expected_ = told != Dialect::automatic ? told : recall_dialect(remembered, driver_->identity());
  return Status::success();
}

Status UpdateSession::learn_of_engine() {
  const std::string mine = fmt::format("{} {}", ckpt::name(kind_), ckpt::name(expected_));
  CKPT_ASSIGN_OR_RETURN(const std::vector<Bytes> all, server_.group_->all_gather("engine kinds", to_bytes(mine), deadline_));
  const std::string_view leaders = as_text(all[group_.first_rank]);
  const auto kind = engine_kind_from_name(leaders.substr(0, leaders.find(' ')));
  const auto expected = dialect_from_name(leaders.substr(leaders.find(' ') + 1));
  if (!kind || !expected) return {StatusCode::data_corruption, Scope::group, "rank {} names no engine kind and dialect", group_.first_rank};
  kind_ = *kind;
  expected_ = *expected;
  all_stage_ = true;
  for (const EngineGroup& group : groups_) {
    const std::string_view leader = as_text(all[group.first_rank]);
    const EngineKind its_kind = engine_kind_from_name(leader.substr(0, leader.find(' '))).value_or(kind_);
    any_may_come_again_ = any_may_come_again_ || may_come_again(its_kind);
    any_gives_up_ = any_gives_up_ || gives_weights_up(its_kind);
    all_stage_ = all_stage_ && (its_kind == EngineKind::ckpt || !group.endpoint);
  }
  return Status::success();
}

/// The workers of an engine are of one package: the leader's speaks for all. After an update that failed nothing is taken for granted.
void UpdateSession::remember_dialect_found(bool update_ok) {
  if (!driver_ || !session_ || kind_ == EngineKind::ckpt || target_.dialect != Dialect::automatic) return;
  const Result<std::string> file = dialect_file();
  if (file.ok()) remember_dialect(*file, driver_->identity(), update_ok ? session_->dialect() : Dialect::automatic);
}

Result<Dialect> UpdateSession::session_dialect() const {
  if (kind_ == EngineKind::ckpt) return Dialect::native;
  if (server_.device_->kind() == "host" && (target_.dialect == Dialect::one || target_.dialect == Dialect::two))
    return Status(StatusCode::unsupported, Scope::operation, "workers of dialect {} map GPU memory, and this rank's device is host memory",
                  ckpt::name(target_.dialect))
        .advise("use --dialect auto and ckpt_engine's worker in the engine, or --device cuda where there are GPUs");
  return target_.dialect;
}

Status UpdateSession::start_call() {
  begin_transfer();
  if (session_) session_->engine_asked();
  if (!leads()) return Status::success();
  CKPT_FAULT_POINT("connect.before_post");
  // A bad reply ends the waits of every rank at once; a good one is read in commit().
  const auto on_reply = [this](const Status& reply) {
    if (!reply.ok()) stop_.trigger(said_by_engine(reply));
    call_over_.trigger({StatusCode::cancelled, Scope::operation, "the engine has replied"});
  };
  if (target_.caller != nullptr) {
    CKPT_ASSIGN_OR_RETURN(std::vector<WorkerAddress> all, workers_of(0, server_.group_->size()));
    call_ = call_by_caller(*target_.caller, std::move(all), on_reply);
    return Status::success();
  }
  // One that sleeps lets its requests end and makes its model anew.
  const Duration limit = server_.settings_.duration(gives_weights_up(kind_) ? "hook_timeout" : "connect_timeout");
  CKPT_RETURN_IF_ERROR(said_by_engine(driver_->prepare(deadline_.capped(limit), stop_)));
  CKPT_ASSIGN_OR_RETURN(const UpdateRequest request, update_request());
  CKPT_ASSIGN_OR_RETURN(call_, driver_->start_update(request, on_reply));
  return Status::success();
}

Result<UpdateRequest> UpdateSession::update_request() const {
  UpdateRequest request;
  request.weight_version = version();
  CKPT_ASSIGN_OR_RETURN(const std::vector<WorkerAddress> workers, workers_of(group_.first_rank, group_.num_ranks));
  for (const WorkerAddress& worker : workers) request.addresses.emplace(worker.device_key, worker.endpoint);
  request.num_engines =
      static_cast<std::uint32_t>(std::count_if(groups_.begin(), groups_.end(), [](const EngineGroup& one) { return one.endpoint.has_value(); }));
  return request;
}

Status UpdateSession::said_by_engine(const Status& reply) const {
  return driver_ ? reply.with_note("engine {}", driver_->endpoint()) : reply.with_note("the caller's call to the engines");
}

/// As gathered: device key and endpoint, a line each.
Result<std::vector<WorkerAddress>> UpdateSession::workers_of(std::uint32_t first_rank, std::uint32_t num_ranks) const {
  std::vector<WorkerAddress> workers;
  for (std::uint32_t rank = first_rank; rank < first_rank + num_ranks; ++rank) {
    const std::string& entry = addresses_[rank];
    const std::size_t split = entry.find('\n');
    if (split == std::string::npos) return Status(StatusCode::internal, Scope::group, "rank {} has no socket address", rank);
    workers.push_back({entry.substr(0, split), entry.substr(split + 1)});
  }
  return workers;
}

Status UpdateSession::connect() {
  if (worker() == nullptr) return Status::success();
  const Status status = worker()->connect(server_.buffer_->exported(), deadline_.capped(server_.settings_.duration("connect_timeout")));
  if (status.ok() || kind_ == EngineKind::ckpt || server_.device_->kind() != "host") return status;
  // A worker of another package does not even know the device keys of host memory, and says so in its own words.
  return status.advise("this rank's device is host memory, which ckpt_engine's worker alone can map: install it in the engine, or use --device cuda");
}

Status UpdateSession::release() {
  CKPT_FAULT_POINT("release.begin");
  if (worker() != nullptr) CKPT_RETURN_IF_ERROR(worker()->release(deadline_.capped(server_.settings_.duration("hook_timeout"))));
  return Status::success();
}

Status UpdateSession::commit() {
  CKPT_FAULT_POINT("commit.begin");
  // Device memory is the engine's while its post-load work runs; host memory is not scarce, and is dear to make anew (docs/decisions/0070).
  if (!target_.keep_slots && !server_.device_->host_addressable()) {
    const Span span(Stage::release, "free the slots");
    server_.drop_buffer();
  }
  if (worker() == nullptr) return Status::success();
  CKPT_RETURN_IF_ERROR(worker()->finish(deadline_.capped(server_.settings_.duration("hook_timeout"))));
  if (may_come_again(kind_)) CKPT_RETURN_IF_ERROR(worker()->reopen());
  waits_for_another_ = true;
  if (!leads()) return Status::success();
  if (may_come_again(kind_)) {
    CKPT_ASSIGN_OR_RETURN(comes_again_, worker()->comes_again(deadline_, call_over_));
    if (comes_again_) return Status::success();
  }
  return said_by_engine(call_->wait(deadline_, stop_));
}

/// Every worker of an engine comes as often as its leader's: those of one engine run the same code. Collective, like the transfer that follows.
Result<bool> UpdateSession::another_session() {
  if (!any_may_come_again_) return false;
  const bool mine = std::exchange(comes_again_, false);
  CKPT_ASSIGN_OR_RETURN(const std::vector<Bytes> all, server_.group_->all_gather("workers again", to_bytes(mine ? "again" : ""), deadline_));
  waits_for_another_ = false;
  const bool took_part = worker() != nullptr;
  takes_part_ = took_part && as_text(all[group_.first_rank]) == "again";
  if (took_part && !takes_part_) session_->engine_answered();
  if (std::none_of(all.begin(), all.end(), [](const Bytes& one) { return as_text(one) == "again"; })) return false;
  if (++num_sessions_ <= kMaxSessions) return true;
  return end_for_all(*server_.group_,
                     Status(StatusCode::remote_error, Scope::peer, "the workers come again after {} sessions in one update call", kMaxSessions)
                         .at_stage(ckpt::name(Stage::commit)));
}

/// On the engine's side. The leader has its answer. The others know it when all their engine's workers have finished and the engine itself says what
/// failed.
bool UpdateSession::call_is_over(const Status& outcome) const {
  if (call_ && call_->answered()) return true;
  const auto rank = static_cast<std::uint32_t>(outcome.rank().value_or(-1));
  const bool own_engine = rank >= group_.first_rank && rank < group_.first_rank + group_.num_ranks;
  return waits_for_another_ && own_engine && outcome.code() == StatusCode::remote_error;
}

Status UpdateSession::settle() {
  if (!driver_) return Status::success();
  if (call_->pause_is_others()) static_cast<void>(driver_->leave_paused());
  return said_by_engine(driver_->settle(version(), deadline_.capped(server_.settings_.duration("hook_timeout")), stop_));
}

/// An engine that we hold goes on when its weights are whole: no worker had begun, or all say so. Else it stays held, for its next completion would
/// be nonsense or its end.
Status UpdateSession::after_failure(const Status& failure) {
  if (!driver_ || !driver_->holds()) return failure;
  const Deadline deadline = Deadline::after(kSettleTimeout);
  const AbortSignal none;  // that of the update has been triggered
  session_.reset();        // tells the worker, which answers the call then
  if (call_) static_cast<void>(call_->wait(deadline, none));
  const EngineWeights before = gives_weights_up(kind_) ? EngineWeights::torn : EngineWeights::old_ones;
  const EngineWeights weights = touched_ && call_ ? call_->weights() : before;
  if (weights == EngineWeights::torn || weights == EngineWeights::unknown) {
    if (gives_weights_up(kind_))
      return failure.with_note("engine {} stays asleep: it gave its weights up, and new ones are not whole; a complete update mends it, or a restart",
                               driver_->endpoint());
    return failure.with_note("engine {} stays paused: {}; the next complete update mends it", driver_->endpoint(),
                             weights == EngineWeights::torn ? "its weights are torn" : "whether its weights are whole is not known");
  }
  const std::optional<std::string> changed = weights == EngineWeights::new_ones ? std::optional<std::string>("") : std::nullopt;
  const bool untouched = !touched_ || (call_ && call_->pause_is_others());
  const bool stays_paused = untouched && driver_->leave_paused();
  const Status settled = driver_->settle(changed, deadline, none);
  if (settled.ok() && stays_paused)
    return failure.with_note("engine {} has its {} weights, and stays paused as it was before", driver_->endpoint(), changed ? "new" : "old");
  if (settled.ok()) return failure.with_note("engine {} goes on with its {} weights", driver_->endpoint(), changed ? "new" : "old");
  return failure.with_note("engine {} may stay paused: {}", driver_->endpoint(), settled.message());
}

/// Those of the first session may have been freed for the engine's post-load work.
Status UpdateSession::remake_slots() {
  CKPT_RETURN_IF_ERROR(server_.ensure_buffer(registration_.plan->buffer_bytes()));
  begin_transfer();
  return Status::success();
}

}  // namespace ckpt
