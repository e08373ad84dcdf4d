#include "server/update_session.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "base/fault_point.h"
#include "base/heap.h"
#include "server/session_dirs.h"

namespace ckpt {

UpdateSession::UpdateSession(ParameterServer& server, const std::string& name, Registration& registration, const UpdateTarget& target,
                             Deadline deadline, const AbortSignal& abort)
    : server_(server),
      name_(name),
      registration_(registration),
      target_(target),
      deadline_(deadline),
      rank_(server.group_->rank()),
      begin_(Clock::real().now()),
      totals_(server.totals_),
      of_caller_(abort, [this](const Status& reason) { end_waits(reason); }),
      of_group_(server.group_->failed(), [this](const Status& reason) { end_waits(reason); }) {}

void UpdateSession::end_waits(const Status& reason) {
  stop_.trigger(reason);
  call_over_.trigger(reason);
}

Result<UpdateReport> UpdateSession::run() {
  const Status status = steps();
  remember_dialect_found(status.ok());
  if (session_ && call_is_over(status)) session_->engine_answered();
  if (status.ok()) return report();
  server_.pipeline_->cancel(status);
  if (session_) session_->abort(status);
  const Status told = after_failure(status);
  if (call_) call_->cancel();
  return told;
}

/// Before "transfer" no worker is given a tensor; but an LMDeploy has given its weights up by then.
bool UpdateSession::engines_may_be_torn(const Status& status) const {
  for (const Stage untouched : {Stage::load, Stage::gather, Stage::plan})
    if (status.stage() == ckpt::name(untouched)) return false;
  return status.stage() == ckpt::name(Stage::connect) ? any_gives_up_ : !all_stage_;
}

Status UpdateSession::steps() {
  CKPT_RETURN_IF_ERROR(step(Stage::plan, "engines and groups", &UpdateSession::map_groups));
  CKPT_RETURN_IF_ERROR(step(Stage::plan, "plan", &UpdateSession::make_plan_step));
  CKPT_RETURN_IF_ERROR(step(Stage::connect, "engines ready", &UpdateSession::wait_ready));
  CKPT_RETURN_IF_ERROR(step(Stage::connect, "engine kinds", &UpdateSession::learn_of_engine));
  CKPT_RETURN_IF_ERROR(step(Stage::connect, "slots and sockets", &UpdateSession::open));
  CKPT_RETURN_IF_ERROR(step(Stage::connect, "update call", &UpdateSession::start_call));
  CKPT_RETURN_IF_ERROR(deliver());
  for (;;) {
    CKPT_ASSIGN_OR_RETURN(const bool another, another_session());
    if (!another) return step(Stage::commit, "engines go on", &UpdateSession::settle);
    CKPT_RETURN_IF_ERROR(step(Stage::connect, "slots again", &UpdateSession::remake_slots));
    CKPT_RETURN_IF_ERROR(deliver());
  }
}

/// One session with each worker that is there.
Status UpdateSession::deliver() {
  CKPT_RETURN_IF_ERROR(step(Stage::connect, "workers connect", &UpdateSession::connect));
  touched_ = true;
  CKPT_RETURN_IF_ERROR(step(Stage::handover, "transfer", &UpdateSession::transfer));
  CKPT_RETURN_IF_ERROR(step(Stage::release, "release", &UpdateSession::release));
  return step(Stage::commit, "commit", &UpdateSession::commit);
}

Status UpdateSession::step(Stage stage, const char* what, Status (UpdateSession::*work)()) {
  const TimePoint begin = Clock::real().now();
  Span span(stage, what);
  Status mine = (this->*work)();
  if (mine.ok()) mine = stop_.check();
  if (num_sessions_ > 1) mine = mine.with_note("session {} of the engine's update call", num_sessions_);
  span.end();
  if (std::string_view(what) != "transfer") totals_[static_cast<std::size_t>(stage)].busy += Clock::real().now() - begin;
  CKPT_RETURN_IF_ERROR(end_where_failed(*server_.group_, mine, ckpt::name(stage)));
  const Span waiting(stage, "wait for the other ranks");
  const Status agreed = server_.group_->agree(what, mine, deadline_);
  return agreed.at_stage(ckpt::name(stage));
}

Status UpdateSession::map_groups() {
  CKPT_ASSIGN_OR_RETURN(const std::uint64_t free_bytes, server_.free_device_bytes());
  const nlohmann::json mine{{"host", server_.host_},
                            {"endpoints", target_.endpoints.size()},
                            {"free", free_bytes},
                            {"caller", target_.caller != nullptr},
                            {"ranks", target_.ranks}};
  CKPT_ASSIGN_OR_RETURN(const std::vector<Bytes> all, server_.group_->all_gather("places", to_bytes(mine.dump()), deadline_));
  std::vector<RankPlace> places;
  for (const Bytes& one : all) {
    const nlohmann::json place = nlohmann::json::parse(as_text(one), nullptr, false);
    if (!place.is_object()) return {StatusCode::data_corruption, Scope::group, "the place of rank {} cannot be read", places.size()};
    if (place.value("caller", false) != (target_.caller != nullptr))
      return {StatusCode::invalid_argument, Scope::group, "rank {} and rank {} do not agree on who makes the engines' update calls", rank_,
              places.size()};
    if (place.value("ranks", std::vector<std::uint32_t>{}) != target_.ranks)
      return {StatusCode::invalid_argument, Scope::group, "rank {} and rank {} do not agree on whose workers get the weights", rank_, places.size()};
    places.push_back({place.value("host", std::string()), place.value("endpoints", 0u)});
    free_bytes_.push_back(place.value("free", std::uint64_t{0}));
  }
  if (target_.caller != nullptr) return map_caller(static_cast<std::uint32_t>(places.size()));
  CKPT_ASSIGN_OR_RETURN(groups_, map_engines(places, target_.inference_parallel_size));
  group_ = groups_[rank_ / target_.inference_parallel_size];
  return Status::success();
}

/// Each rank is a group of its own: the caller knows which of them are an engine.
Status UpdateSession::map_caller(std::uint32_t num_ranks) {
  for (const std::uint32_t chosen : target_.ranks)
    if (chosen >= num_ranks)
      return Status(StatusCode::invalid_argument, Scope::operation, "rank {} is to get the weights, and there are {} ranks", chosen, num_ranks);
  for (std::uint32_t rank = 0; rank < num_ranks; ++rank) {
    const bool chosen = target_.ranks.empty() || std::find(target_.ranks.begin(), target_.ranks.end(), rank) != target_.ranks.end();
    groups_.push_back({rank, 1, chosen ? std::optional<std::uint32_t>(0) : std::nullopt});
  }
  group_ = groups_[rank_];
  return Status::success();
}

Status UpdateSession::make_plan_step() {
  CKPT_FAULT_POINT("plan.begin");
  Topology topology;
  topology.num_ranks = server_.group_->size();
  topology.inference_parallel_size = group_.num_ranks;
  for (const EngineGroup& group : groups_) topology.drives_engine.push_back(group.endpoint.has_value());
  MemoryBudget budget;
  budget.limit_bytes = server_.settings_.bytes("memory_limit");
  budget.max_slots = static_cast<std::uint32_t>(server_.settings_.count("num_slots"));
  budget.free_bytes = free_bytes_;
  for (const Manifest& manifest : registration_.manifests) topology.hosts.push_back(manifest.host);
  const std::vector<std::uint64_t> digests(registration_.manifests.size(), registration_.layout_digest);
  const std::uint64_t key = plan_key(registration_.manifests, digests, topology, budget);
  if (registration_.plan && registration_.plan_key == key) return Status::success();
  CKPT_ASSIGN_OR_RETURN(Plan plan, make_plan(registration_.manifests, topology, budget));
  std::vector<std::span<const UnitDigest>> unit_digests;
  for (const Manifest& manifest : registration_.manifests) unit_digests.emplace_back(manifest.digests);
  CKPT_ASSIGN_OR_RETURN(BucketTable buckets, BucketTable::create(plan, unit_digests));
  registration_.plan = std::make_unique<Plan>(std::move(plan));
  registration_.buckets = std::make_unique<BucketTable>(std::move(buckets));
  registration_.plan_key = key;
  return Status::success();
}

Status UpdateSession::open() {
  CKPT_RETURN_IF_ERROR(server_.ensure_collective(deadline_.capped(server_.settings_.duration("connect_timeout")), stop_));
  CKPT_RETURN_IF_ERROR(server_.ensure_buffer(registration_.plan->buffer_bytes()));
  std::string address = server_.device_->key() + "\n";
  if (drives()) {
    CKPT_ASSIGN_OR_RETURN(SessionOptions options, session_options(server_.settings_));
    options.worker_key = server_.device_->key();
    CKPT_ASSIGN_OR_RETURN(options.dialect, session_dialect());
    options.expected = expected_;
    // Of host memory only native workers can take anything; others are sent away when they come.
    registration_.buckets->encode(server_.device_->kind() == "host" ? Dialect::native : options.dialect);
    CKPT_ASSIGN_OR_RETURN(session_, open_session(options, stop_));
    address += session_->address();
  }
  CKPT_ASSIGN_OR_RETURN(const std::vector<Bytes> all, server_.group_->all_gather("socket addresses", to_bytes(address), deadline_));
  for (const Bytes& one : all) addresses_.emplace_back(as_text(one));
  if (!driver_) return Status::success();
  CKPT_ASSIGN_OR_RETURN(const UpdateRequest request, update_request());
  return driver_->check_reach(request);  // before any engine is asked to do anything
}

/// The first slots are filled while the engines' workers are on their way.
void UpdateSession::begin_transfer() {
  session_totals_ = {};
  const Transfer transfer{registration_.plan.get(),
                          registration_.buckets.get(),
                          registration_.part.get(),
                          rank_,
                          server_.buffer_.get(),
                          server_.collective_.get(),
                          worker()};
  server_.pipeline_->begin(transfer, deadline_, stop_, server_.progress_, session_totals_);
}

Status UpdateSession::transfer() {
  const Status status = server_.pipeline_->end();
  for (std::size_t i = 0; i < kNumStages; ++i) {
    totals_[i].bytes += session_totals_[i].bytes;
    totals_[i].busy += session_totals_[i].busy;
  }
  return status;
}

Result<UpdateReport> UpdateSession::report() {
  const Plan& plan = *registration_.plan;
  UpdateReport report;
  report.checkpoint = name_;
  report.version = version();
  report.num_ranks = server_.group_->size();
  for (const EngineGroup& group : groups_) ++(group.endpoint ? report.num_engines : report.num_idle_groups);
  if (target_.caller != nullptr) report.num_engines = 0;
  for (const Parameter& parameter : plan.layout->parameters) report.checkpoint_bytes += parameter.bytes;
  report.num_tensors = static_cast<std::uint32_t>(plan.layout->parameters.size());
  report.num_frames = registration_.buckets->size();
  report.num_slots = plan.num_slots;
  report.slot_bytes = plan.slot_bytes;
  report.verified = registration_.options.verify && (kind_ == EngineKind::ckpt || (session_ && session_->dialect() == Dialect::native));
  report.lane = server_.collective_->lane();
  report.notes = plan.warnings;
  if (driver_) report.notes.insert(report.notes.end(), driver_->notes().begin(), driver_->notes().end());
  if (report.num_idle_groups > 0)
    report.notes.push_back(fmt::format("{} group(s) of ranks have no endpoint: they only hold and send", report.num_idle_groups));
  if (num_sessions_ > 1) report.notes.push_back(fmt::format("workers came {} times in one update call: the engine has a draft model", num_sessions_));
  for (std::size_t i = 0; i < kNumStages; ++i) report.stages[i] = {totals_[i].bytes, seconds(totals_[i].busy)};
  report.kept_versions = server_.versions_.num_before(registration_);
  report.pool_bytes = server_.pool_->reserved_bytes();
  report.pool_arenas_made = server_.pool_->num_arenas_made();
  if (std::string note = server_.versions_.take_note(); !note.empty()) report.notes.push_back(std::move(note));
  report.seconds = seconds(Clock::real().now() - begin_);
  const std::uint64_t heap = heap_in_use();
  report.own_heap_bytes = heap - std::min(heap, library_heap());
  CKPT_ASSIGN_OR_RETURN(const std::vector<Bytes> all, server_.group_->all_gather("reports", to_bytes(encode_rank_report(report)), deadline_));
  for (std::uint32_t rank = 0; rank < all.size(); ++rank)
    if (rank != rank_) CKPT_RETURN_IF_ERROR(merge_rank_report(as_text(all[rank]), report));
  return report;
}

}  // namespace ckpt
