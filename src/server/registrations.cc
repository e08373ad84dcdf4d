// What a rank registers: loaded, laid out beside the other ranks' shares, told to all.
#include <algorithm>

#include "base/fault_point.h"
#include "base/log.h"
#include "manifest/metas_json.h"
#include "os/threads.h"
#include "server/frame_options.h"
#include "server/metas_exchange.h"
#include "server/parameter_server.h"

namespace ckpt {
namespace {

/// Counts the time of a scope and the bytes set into a stage.
class StageTimer {
 public:
  explicit StageTimer(StageTotals& totals) : totals_(totals), begin_(Clock::real().now()) {}
  ~StageTimer() { totals_.busy += Clock::real().now() - begin_; }
  StageTimer(const StageTimer&) = delete;
  StageTimer& operator=(const StageTimer&) = delete;

 private:
  StageTotals& totals_;
  TimePoint begin_;
};

}  // namespace

/// A share is laid out as if it were alone until the others' are known: which bytes it reads does not depend on them.
Result<std::shared_ptr<const CheckpointLayout>> ParameterServer::first_layout(const Registration& registration) const {
  const std::uint32_t num_ranks = registration.share ? 1 : group_->size();
  auto layout = std::make_shared<CheckpointLayout>();
  layout->parameters = registration.checkpoint.parameters;
  CKPT_ASSIGN_OR_RETURN(layout->frames, make_striped_layout(layout->parameters, num_ranks,
                                                            fit_frames(frame_options(settings_, device_->kind()), layout->parameters, num_ranks)));
  return std::shared_ptr<const CheckpointLayout>(std::move(layout));
}

Status ParameterServer::load(Registration& registration, Deadline deadline, const AbortSignal& abort) {
  StageTotals& totals = totals_[static_cast<std::size_t>(Stage::load)];
  const StageTimer timer(totals);
  Span span(Stage::load, "read");
  LoadOptions options;
  options.read_threads = static_cast<unsigned>(settings_.count("read_threads"));
  options.memory_threads = std::clamp(usable_cores() / num_local_ranks_, 1u, 16u);
  options.read_chunk_bytes = settings_.bytes("read_chunk_size");
  options.digests = registration.options.verify && !registration.share;  // a share's units are not known yet
  options.adopt = registration.options.adopt;
  options.num_sharing = num_local_ranks_;
  options.give_up = [this] {
    const bool any = versions_.give_up("memory is scarce");
    if (any) log_warning("memory is scarce: no earlier version is kept from here on");
    return any;
  };
  options.progress = [this](const LoadProgress& done) {
    if (progress_) progress_(Stage::load, done.read_bytes, done.total_bytes);
  };
  const std::uint32_t rank = registration.share ? 0 : group_->rank();
  LoadReport report;
  CKPT_ASSIGN_OR_RETURN(registration.part, pool_->load(registration.checkpoint, *registration.layout, rank, options, deadline, abort, &report));
  for (CheckpointFile& file : registration.checkpoint.files) file.memory.reset();  // the caller's again
  span.add_bytes(report.read_bytes);
  totals.bytes += report.read_bytes;
  return Status::success();
}

Status ParameterServer::register_checkpoint(const std::string& name, const CheckpointSource& source, const RegisterOptions& options,
                                            Deadline deadline, const AbortSignal& abort) {
  if (registrations_.contains(name)) return {StatusCode::already_exists, Scope::operation, "a checkpoint named {} is registered", name};
  CKPT_FAULT_POINT("load.begin");
  totals_ = {};
  auto made = std::make_shared<Registration>();
  Registration& registration = *made;
  registration.options = options;
  registration.share = source.directory.empty();
  if (!registration.share) {
    CKPT_ASSIGN_OR_RETURN(registration.checkpoint, open_checkpoint(source.directory));
  } else {
    if (!source.files.empty()) {
      CKPT_ASSIGN_OR_RETURN(registration.checkpoint, open_checkpoint_files(source.files));
    }
    if (!source.tensors.empty()) CKPT_RETURN_IF_ERROR(add_tensors(source.tensors, registration.checkpoint));
  }
  CKPT_RETURN_IF_ERROR(check_engines_take(registration.checkpoint));
  CKPT_ASSIGN_OR_RETURN(registration.layout, first_layout(registration));
  registration.layout_digest = digest(*registration.layout);
  versions_.make_room();
  CKPT_RETURN_IF_ERROR(load(registration, deadline, abort));
  registration.listed = true;
  registrations_.emplace(name, std::move(made));
  return Status::success();
}

Status ParameterServer::unregister_checkpoint(const std::string& name) {
  const auto found = registrations_.find(name);
  if (found == registrations_.end()) return {StatusCode::not_found, Scope::operation, "no checkpoint named {} is registered", name};
  versions_.unlisted(*found->second);
  registrations_.erase(found);
  return Status::success();
}

Manifest ParameterServer::own_manifest(const std::string& name, const Registration& registration, std::uint64_t free_bytes) const {
  Manifest manifest;
  manifest.checkpoint = name;
  manifest.rank = group_->rank();
  manifest.host = host_;
  manifest.device_key = device_->key();
  manifest.free_device_bytes = free_bytes;
  manifest.layout = registration.layout;
  if (registration.part) {
    manifest.segments = registration.part->segments();
    manifest.digests = registration.part->digests();
  }
  return manifest;
}

/// Whether ranks brought shares or all named one directory is agreed first: what follows differs. Collective.
Status ParameterServer::lay_out_shares(Registration& registration, Deadline deadline, const AbortSignal& abort) {
  const std::string mine = registration.share ? "share" : "directory";
  CKPT_ASSIGN_OR_RETURN(const std::vector<Bytes> all, group_->all_gather("kinds of sources", to_bytes(mine), deadline));
  for (std::uint32_t rank = 0; rank < all.size(); ++rank)
    if (as_text(all[rank]) != mine)
      return {StatusCode::invalid_argument,
              Scope::group,
              "rank {} registered a {} and rank {} a {}: all are to do the same",
              group_->rank(),
              mine,
              rank,
              as_text(all[rank])};
  if (!registration.share) return Status::success();
  CKPT_ASSIGN_OR_RETURN(const ShareLayout shares,
                        gather_shares(*group_, registration.checkpoint, frame_options(settings_, device_->kind()), deadline));
  registration.layout = shares.layout;
  registration.layout_digest = digest(*registration.layout);
  return registration.part->lay_out_again(shares.checkpoint, *registration.layout, group_->rank(), registration.options.verify, abort);
}

Status ParameterServer::gather_metas(const std::string& name, Deadline deadline, const AbortSignal& abort) {
  const auto found = registrations_.find(name);
  if (found == registrations_.end()) return {StatusCode::not_found, Scope::operation, "no checkpoint named {} is registered", name};
  CKPT_FAULT_POINT("gather.begin");
  CKPT_RETURN_IF_ERROR(ensure_epoch(deadline, abort));
  Registration& registration = *found->second;
  const StageTimer timer(totals_[static_cast<std::size_t>(Stage::gather)]);
  const Span span(Stage::gather, "metas");
  CKPT_RETURN_IF_ERROR(lay_out_shares(registration, deadline, abort));
  CKPT_ASSIGN_OR_RETURN(const std::uint64_t free_bytes, free_device_bytes());
  CKPT_ASSIGN_OR_RETURN(registration.manifests,
                        gather_manifests(*group_, own_manifest(name, registration, free_bytes), registration.layout_digest, deadline));
  registration.plan_key = 0;
  return Status::success();
}

Result<std::string> ParameterServer::metas_json(const std::string& name) const {
  const auto found = registrations_.find(name);
  if (found == registrations_.end()) return Status(StatusCode::not_found, Scope::operation, "no checkpoint named {} is registered", name);
  if (found->second->manifests.empty())
    return Status(StatusCode::failed_precondition, Scope::operation, "the metas of {} have not been gathered", name);
  return manifests_json(found->second->manifests);
}

}  // namespace ckpt
