/// The child side of Process: vfork, the few steps that must happen before exec, and the error on its way back.
#pragma once

#include "ckpt/result.h"
#include "os/process.h"

namespace ckpt {

/// Starts the program and returns once it runs. vfork, because posix_spawn cannot set a death signal and fork copies the page tables of a large pool.
[[nodiscard]] Result<pid_t> vfork_and_exec(const ProcessOptions& options);

}  // namespace ckpt
