/// Ctrl-C and SIGTERM as an AbortSignal: commands wait on it and end in good order.
#pragma once

#include "os/abort_signal.h"

namespace ckpt {

/// While it lives, SIGINT and SIGTERM trigger `abort`; afterwards the old dispositions are back. One at a time in a process.
/// Lifetime: `abort` must outlive it. Repeated signals change nothing: waits already end, and a terminal's Ctrl-C may arrive twice.
class InterruptSignals {
 public:
  explicit InterruptSignals(AbortSignal& abort);
  ~InterruptSignals();
  InterruptSignals(const InterruptSignals&) = delete;
  InterruptSignals& operator=(const InterruptSignals&) = delete;

  /// The first signal that came, or 0.
  [[nodiscard]] int received() const;
};

}  // namespace ckpt
