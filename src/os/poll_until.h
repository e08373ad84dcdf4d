/// Waits for what has no descriptor to wait on: asks again and again, at first at once, then every few microseconds.
#pragma once

#include <sched.h>

#include <ctime>
#include <string_view>

#include "base/deadline.h"
#include "ckpt/result.h"
#include "os/abort_signal.h"

namespace ckpt {

/// Calls `done` (a Result<bool>) until it says true or fails. deadline_exceeded naming `what`, or the abort's reason. For waits of milliseconds on
/// devices: costs a few percent of a core.
template <typename Done>
[[nodiscard]] Status poll_until(Done done, Deadline deadline, const AbortSignal& abort, std::string_view what) {
  constexpr int kAtOnce = 20;
  constexpr timespec kPause{0, 20'000};
  for (int tries = 0;; ++tries) {
    CKPT_ASSIGN_OR_RETURN(const bool is_done, done());
    if (is_done) return Status::success();
    CKPT_RETURN_IF_ERROR(abort.check());
    CKPT_RETURN_IF_ERROR(deadline.check(what));
    if (tries < kAtOnce)
      ::sched_yield();
    else
      ::nanosleep(&kPause, nullptr);
  }
}

}  // namespace ckpt
