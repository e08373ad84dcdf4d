/// Finds and loads libckpt_ucx.so, once per process.
#pragma once

#include <cstdint>
#include <string>

#include "ckpt/result.h"
#include "transfer/ucx/plugin/ucx_abi.h"

namespace ckpt {

/// What the first group of the process asks of UCX: sizes its buffers.
struct UcxNeeds {
  std::uint32_t num_ranks;
  bool two_copies;  ///< large messages go through its shared memory
};

/// The plug-in's functions; they stay for the life of the process. `path` empty: beside the executable or in ../lib of it.
/// unsupported: the plug-in or UCX is not there; the text has what was tried, and which package brings it.
[[nodiscard]] Result<const CkptUcxApi*> load_ucx_plugin(const std::string& path, const UcxNeeds& needs);

}  // namespace ckpt
