/// Descriptors passed to another process over a Unix socket (SCM_RIGHTS).
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/deadline.h"
#include "ckpt/result.h"
#include "os/abort_signal.h"
#include "os/unique_fd.h"

namespace ckpt {

/// Most descriptors in one message.
inline constexpr std::size_t kMaxPassedFds = 16;

struct ReceivedFds {
  std::vector<UniqueFd> fds;
  std::string payload;
};

/// Sends `payload` (at least one byte; one message: keep it below 64 KiB) with copies of `fds` over a connected Unix socket.
[[nodiscard]] Status send_fds(int socket, std::span<const int> fds, std::string_view payload, Deadline deadline, const AbortSignal& abort);
/// Receives one such message. unavailable when the peer has gone; data_corruption when it is longer than `max_payload` or its descriptors were cut
/// off.
[[nodiscard]] Result<ReceivedFds> receive_fds(int socket, std::size_t max_payload, Deadline deadline, const AbortSignal& abort);

}  // namespace ckpt
