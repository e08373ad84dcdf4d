/// The worker process of a weight-holding engine: started by the front with a control socket, it holds one TP rank's shards and receives updates.
#pragma once

#include "ckpt/status.h"

namespace ckpt {

/// Serves the front on `control_fd` until it closes the socket. ok then; an error if the worker could not do its work.
[[nodiscard]] Status run_holder_worker(int control_fd);

}  // namespace ckpt
