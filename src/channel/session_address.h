/// Fresh, unguessable names for the sockets of one session.
#pragma once

#include <string>

#include "ckpt/result.h"

namespace ckpt {

struct SessionAddress {
  std::string endpoint;   ///< "ipc:///dir/name" or "ipc://@name": for ZeroMQ and the engine's handle map
  std::string fd_socket;  ///< beside it; passes the buffer's descriptor to native workers
};

/// Where workers that speak natively come, beside `endpoint`, to a sender that serves both kinds. Empty for an endpoint that is no "ipc://…".
[[nodiscard]] std::string native_endpoint(const std::string& endpoint);

/// In `socket_dir`, which is made private; a relative one counts from here, and the address says the whole path, since the engine works elsewhere.
/// "abstract": names without a file. invalid_argument: a path longer than a Unix socket's may be.
[[nodiscard]] Result<SessionAddress> make_session_address(const std::string& socket_dir);

/// Removes the files that a dead session left; nothing for abstract names.
void remove_session_files(const std::string& endpoint);

}  // namespace ckpt
