/// The one wait of the product on a descriptor: until it is ready, the deadline passes or the abort signal triggers.
#pragma once

#include <string_view>

#include "base/deadline.h"
#include "ckpt/status.h"
#include "os/abort_signal.h"

namespace ckpt {

/// Waits until poll(2) reports one of `events` (POLLIN, POLLOUT), an error or a hang-up on `fd`.
///   deadline_exceeded  names `what`      the abort's reason      resource_exhausted, internal  poll itself failed
[[nodiscard]] Status wait_until_ready(int fd, short events, Deadline deadline, const AbortSignal& abort, std::string_view what);

/// Waits until `abort` triggers or `duration` is over: the pause between two attempts. Returns the abort's reason, or ok.
[[nodiscard]] Status pause_for(Duration duration, const AbortSignal& abort);

}  // namespace ckpt
