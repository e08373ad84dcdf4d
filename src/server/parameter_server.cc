#include "server/parameter_server.h"

#include "base/log.h"
#include "os/boot_id.h"
#include "os/numa.h"
#include "server/rank_device.h"
#include "server/update_session.h"
#include "transfer/nccl/nccl_collective.h"
#include "transfer/ucx/ucx_collective.h"

namespace ckpt {

ParameterServer::ParameterServer(std::unique_ptr<Group> group, const Settings& settings, StageProgress progress)
    : group_(std::move(group)), settings_(settings), progress_(std::move(progress)), versions_(settings.count("keep_versions")) {}

ParameterServer::~ParameterServer() {
  forget_transfer();
  registrations_.clear();
}

Result<std::unique_ptr<ParameterServer>> ParameterServer::create(std::unique_ptr<Group> group, const Settings& settings, StageProgress progress) {
  std::unique_ptr<ParameterServer> server(new ParameterServer(std::move(group), settings, std::move(progress)));
  const Status status = server->prepare(Deadline::after(server->settings_.duration("connect_timeout")));
  CKPT_RETURN_IF_ERROR(end_where_failed(*server->group_, status, name(Stage::load)));
  return server;
}

Status ParameterServer::prepare(Deadline deadline) {
  CKPT_ASSIGN_OR_RETURN(host_, boot_id());
  CKPT_ASSIGN_OR_RETURN(const RankSeat seat, find_seat(*group_, host_, deadline));
  num_local_ranks_ = seat.num_local;
  CKPT_ASSIGN_OR_RETURN(device_, make_rank_device(settings_, seat));
  // Before there are threads of its own and memory: both are to be near the GPU.
  if (const std::string bus_id = device_->pci_bus_id(); !bus_id.empty()) log_debug("{}", bind_to_node_of_pci_device(bus_id));
  CKPT_RETURN_IF_ERROR(agree_on_devices(*group_, *device_, deadline));
  if (device_->kind() == "cuda") CKPT_RETURN_IF_ERROR(make_collective(deadline));  // connects while the checkpoint is read
  pool_ = make_host_pool(*device_);
  CKPT_ASSIGN_OR_RETURN(pipeline_, UpdatePipeline::create(*device_));
  return Status::success();
}

Result<std::uint64_t> ParameterServer::free_device_bytes() {
  CKPT_ASSIGN_OR_RETURN(const DeviceMemory memory, device_->memory());
  const std::uint64_t own = buffer_ ? buffer_->bytes() : 0;
  return memory.free_bytes - memory.free_bytes / 10 + own;  // head room for engines that are starting
}

Status ParameterServer::barrier(const std::string& name, Deadline deadline, const AbortSignal& abort) {
  CKPT_RETURN_IF_ERROR(ensure_epoch(deadline, abort));
  return group_->barrier(name, deadline);
}

Status ParameterServer::ensure_epoch(Deadline deadline, const AbortSignal& abort) {
  if (!group_->failed().triggered()) return Status::success();
  forget_transfer();
  return group_->renew(deadline, abort);
}

Status ParameterServer::make_collective(Deadline deadline) {
  if (group_->size() == 1) {
    collective_ = solitary_collective();
  } else if (device_->kind() == "cuda") {
    CKPT_ASSIGN_OR_RETURN(collective_, make_nccl_collective(*group_, *device_, {settings_.text("nccl_library")}, deadline));
  } else {
    CKPT_ASSIGN_OR_RETURN(collective_, make_ucx_collective(*group_, {}, deadline));
  }
  return Status::success();
}

Status ParameterServer::ensure_collective(Deadline deadline, const AbortSignal& abort) {
  const Span span(Stage::connect, "wait for the ranks to be connected");
  if (!collective_) CKPT_RETURN_IF_ERROR(make_collective(deadline));
  return collective_->connected(deadline, abort);
}

Status ParameterServer::ensure_buffer(std::uint64_t bytes) {
  if (buffer_ && buffer_->bytes() == bytes) return Status::success();
  drop_buffer();
  const Span span(Stage::connect, "make the slots");
  CKPT_ASSIGN_OR_RETURN(buffer_, device_->allocate(bytes));
  return collective_->register_buffer({buffer_->data(), buffer_->bytes()}, buffer_->exported().fd);
}

void ParameterServer::drop_buffer() {
  if (buffer_ && collective_) collective_->unregister_buffer({buffer_->data(), buffer_->bytes()});
  buffer_.reset();
}

void ParameterServer::forget_transfer() {
  // The collective first: its operations may still touch the buffer until it is gone.
  collective_.reset();
  buffer_.reset();
}

Result<UpdateReport> ParameterServer::update(const std::string& name, const UpdateTarget& target, Deadline deadline, const AbortSignal& abort) {
  versions_.update_begins();
  const auto found = registrations_.find(name);
  if (found == registrations_.end()) return Status(StatusCode::not_found, Scope::operation, "no checkpoint named {} is registered", name);
  if (found->second->manifests.empty()) return Status(StatusCode::failed_precondition, Scope::operation, "gather the metas of {} first", name);
  Result<UpdateReport> report = put(name, *found->second, target, deadline, abort);
  if (report.ok()) versions_.went_well({name, report->version, found->second});
  return report;
}

Result<UpdateReport> ParameterServer::put(const std::string& name, Registration& registration, const UpdateTarget& target, Deadline deadline,
                                          const AbortSignal& abort) {
  CKPT_RETURN_IF_ERROR(ensure_epoch(deadline, abort));
  UpdateSession session(*this, name, registration, target, deadline, abort);
  Result<UpdateReport> report = session.run();
  torn_ = !report.ok() && (session.engines_may_be_torn(report.status()) || torn_);
  if (!report.ok()) {
    forget_transfer();
    log_debug("the last events:\n{}", EventRecorder::global().flight_text(40));
  }
  return report;
}

/// Every rank remembers for itself; one that was restarted does not.
Result<Version> ParameterServer::agree_on_version_before(Deadline deadline) {
  Result<Version> mine = versions_.before();
  CKPT_RETURN_IF_ERROR(group_->agree("the version before", mine.status(), deadline));
  CKPT_ASSIGN_OR_RETURN(const std::vector<Bytes> all,
                        group_->all_gather("number of the version before", to_bytes(std::to_string(mine->number)), deadline));
  for (std::uint32_t rank = 0; rank < all.size(); ++rank)
    if (as_text(all[rank]) != as_text(all[0]))
      return Status(StatusCode::failed_precondition, Scope::group, "rank 0 would go back to update {} and rank {} to update {}", as_text(all[0]),
                    rank, as_text(all[rank]))
          .advise("update once more");
  return mine;
}

Result<UpdateReport> ParameterServer::roll_back(UpdateTarget target, Deadline deadline, const AbortSignal& abort) {
  CKPT_RETURN_IF_ERROR(ensure_epoch(deadline, abort));
  CKPT_ASSIGN_OR_RETURN(const Version version, agree_on_version_before(deadline));
  versions_.update_begins();
  if (target.weight_version.empty()) target.weight_version = version.weight_version;
  Result<UpdateReport> report = put(version.name, *version.registration, target, deadline, abort);
  if (report.ok()) versions_.went_back_to(version.number);
  return report;
}

}  // namespace ckpt
