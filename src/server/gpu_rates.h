/// Rates of this machine's way to a GPU, each beside its limit in the same run. Used by `ckpt-engine bench` where there is a GPU.
#pragma once

#include "server/host_rates.h"

namespace ckpt {

/// On the first GPU that this process sees: a checkpoint loaded into fresh registered memory, and pool to slot. unsupported: there is none.
[[nodiscard]] Result<std::vector<RateRow>> measure_gpu_rates(const Checkpoint& checkpoint, unsigned rounds, Deadline deadline,
                                                             const AbortSignal& abort);

}  // namespace ckpt
