#include "server/joined_group.h"

#include "server/session_dirs.h"

namespace ckpt {
namespace {

constexpr Duration kStoreLinger = std::chrono::seconds(5);

Result<std::unique_ptr<StoreServer>> host_store(const Settings& settings, const LauncherEnvironment& place, const GroupOptions& options,
                                                Deadline deadline) {
  const std::string host = settings.text("interface").empty() ? place.store.host : settings.text("interface");
  return StoreServer::start({host, place.store.port, place.num_ranks, options.token, options.heartbeat_interval, options.heartbeat_timeout},
                            deadline);
}

}  // namespace

Status free_waiting_workers(const Settings& settings, Deadline deadline) {
  CKPT_ASSIGN_OR_RETURN(const SessionOptions sessions, session_options(settings));
  return recover_sessions(sessions.journal_dir, deadline).status();
}

Result<JoinedGroup> join_as_rank(const Settings& settings, const std::optional<LauncherEnvironment>& place, Deadline deadline,
                                 const AbortSignal& interrupt) {
  JoinedGroup joined;
  if (!place || (place->num_ranks == 1 && !place->store_is_hosted)) {
    joined.group = solitary_group();
  } else {
    GroupOptions options;
    options.store = place->store;
    options.rank = place->rank;
    options.num_ranks = place->num_ranks;
    options.token = settings.text("store_token");
    // Without a secret the launcher's name of the run keeps jobs apart, no more: docs/decisions/0021.
    if (options.token.empty() && !place->store_is_hosted) options.token = place->job.substr(0, 64);
    if (!place->store_is_hosted) options.store_rank = 0;
    options.heartbeat_interval = settings.duration("heartbeat_interval");
    options.heartbeat_timeout = settings.duration("heartbeat_timeout");
    if (!place->store_is_hosted && place->rank == 0) {
      CKPT_ASSIGN_OR_RETURN(joined.store, host_store(settings, *place, options, deadline));
    }
    CKPT_ASSIGN_OR_RETURN(joined.group, join_group(options, deadline.capped(settings.duration("connect_timeout")), interrupt));
  }
  if (!place || place->local_rank == 0) CKPT_RETURN_IF_ERROR(free_waiting_workers(settings, deadline));
  return joined;
}

Status let_others_leave(StoreServer* store, Deadline deadline, const AbortSignal& interrupt) {
  return store == nullptr ? Status::success() : store->wait_until_empty(deadline.capped(kStoreLinger), interrupt);
}

}  // namespace ckpt
