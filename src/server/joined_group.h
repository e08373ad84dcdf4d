/// A process as a rank of its job: the group it joined, and the store of the group where this rank runs it.
#pragma once

#include <memory>
#include <optional>

#include "base/options.h"
#include "rendezvous/group.h"
#include "rendezvous/launcher_environment.h"
#include "rendezvous/store_server.h"

namespace ckpt {

struct JoinedGroup {
  std::unique_ptr<StoreServer> store;  ///< on rank 0, where nobody else hosts it; must outlive the group
  std::unique_ptr<Group> group;
};

/// Frees the workers that an update of this user left waiting and whose process has ended it. For one rank of a host.
[[nodiscard]] Status free_waiting_workers(const Settings& settings, Deadline deadline);

/// Joins the group that `place` tells of, or makes a group of one. Frees waiting workers, on the first rank of a host. Errors as StoreServer::start
/// and join_group.
[[nodiscard]] Result<JoinedGroup> join_as_rank(const Settings& settings, const std::optional<LauncherEnvironment>& place, Deadline deadline,
                                               const AbortSignal& interrupt);

/// Where this rank runs the store: waits a few seconds for the others to leave, who need it until then. A rank that has left, or failed, calls it
/// last.
[[nodiscard]] Status let_others_leave(StoreServer* store, Deadline deadline, const AbortSignal& interrupt);

}  // namespace ckpt
