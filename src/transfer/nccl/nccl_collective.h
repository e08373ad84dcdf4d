/// NCCL as carrier of weight bytes between GPUs: NVLink inside a host, the network between hosts.
#pragma once

#include "transfer/collective.h"

namespace ckpt {

struct NcclOptions {
  std::string library;  ///< path of libnccl.so.2; empty: searched for
};

/// Begins to connect all ranks of `group`, one GPU each; Collective::connect tells how it went. Collective: the id travels through the group.
/// `device` must outlive it. unsupported: no NCCL, or an old one.
[[nodiscard]] Result<std::unique_ptr<Collective>> make_nccl_collective(Group& group, Device& device, const NcclOptions& options, Deadline deadline);

}  // namespace ckpt
