/// Rates of this machine's host path, each beside the limit that a plain loop reaches in the same run. Used by `ckpt-engine bench`.
#pragma once

#include <string>
#include <vector>

#include "base/deadline.h"
#include "checkpoint/checkpoint.h"
#include "ckpt/result.h"
#include "os/abort_signal.h"

namespace ckpt {

/// One measurement: what the product does, and the plain loop over the same bytes. Medians of interleaved rounds.
struct RateRow {
  std::string what;
  std::string limit_is;      ///< what the limit was
  std::uint64_t bytes = 0;   ///< moved in each round
  double seconds = 0;        ///< the product's, median
  double limit_seconds = 0;  ///< the limit's, median
};

/// Populating, reading (cold, warm), and pool to slot. `checkpoint` gives the files; they are dropped from the page cache where a cold read is
/// measured.
[[nodiscard]] Result<std::vector<RateRow>> measure_host_rates(const Checkpoint& checkpoint, unsigned rounds, Deadline deadline,
                                                              const AbortSignal& abort);

}  // namespace ckpt
