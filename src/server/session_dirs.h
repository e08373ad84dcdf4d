/// Where this rank's engine sockets and their journal live.
#pragma once

#include "base/options.h"
#include "channel/bucket_session.h"

namespace ckpt {

/// Timeouts, heartbeats and directories of a session, from the settings. failed_precondition when a directory is not private.
[[nodiscard]] Result<SessionOptions> session_options(const Settings& settings);

/// The file that remembers which dialect each engine speaks, beside the journal. Errors as default_runtime_dir.
[[nodiscard]] Result<std::string> dialect_file();

}  // namespace ckpt
