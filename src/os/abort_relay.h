/// Carries the reason of one AbortSignal over to code that waits on something else.
#pragma once

#include <functional>
#include <span>
#include <thread>
#include <vector>

#include "ckpt/status.h"
#include "os/abort_signal.h"
#include "os/unique_fd.h"

namespace ckpt {

/// While it lives, the first of `sources` to trigger makes `act` run once, on a thread of the relay, with that signal's reason.
/// The sources must outlive it; the destructor waits for `act` if it runs.
class AbortRelay {
 public:
  AbortRelay(std::vector<const AbortSignal*> sources, std::function<void(const Status&)> act);
  ~AbortRelay();
  AbortRelay(const AbortRelay&) = delete;
  AbortRelay& operator=(const AbortRelay&) = delete;

 private:
  void watch();
  std::vector<const AbortSignal*> sources_;
  std::function<void(const Status&)> act_;
  AbortSignal quit_;
  std::thread thread_;
};

}  // namespace ckpt
