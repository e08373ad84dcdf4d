/// UCX as carrier of weight bytes in host memory: shared memory inside a host, TCP or RDMA between hosts.
/// The code that calls UCX is the plug-in libckpt_ucx.so, loaded when first needed; without UCX an error names the package.
#pragma once

#include "transfer/collective.h"

namespace ckpt {

struct UcxOptions {
  std::string tls;                       ///< UCX_TLS to use; empty: UCX's own choice
  std::string plugin;                    ///< path of libckpt_ucx.so; empty: beside the executable
  std::uint64_t chunk_bytes = 4u << 20;  ///< unit of pipelining
};

/// Connects all ranks of `group` (its addresses travel through the group). Collective. unsupported: no plug-in or no UCX, with the package's name.
/// unavailable, deadline_exceeded name the rank that could not be reached.
[[nodiscard]] Result<std::unique_ptr<Collective>> make_ucx_collective(Group& group, const UcxOptions& options, Deadline deadline);

}  // namespace ckpt
