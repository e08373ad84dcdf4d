/// A flag that ends waits: set once, with the reason, from any thread; waits poll its descriptor beside their own.
#pragma once

#include <atomic>
#include <functional>
#include <vector>

#include "base/thread_annotations.h"
#include "ckpt/result.h"
#include "os/unique_fd.h"

namespace ckpt {

class AbortLink;

/// Set once; the first reason stays. Thread-safe. Must outlive every wait that was given it.
class AbortSignal {
 public:
  /// Without a descriptor if the system has none left: `fd()` is then -1 and polls fall back to their deadline.
  AbortSignal();
  AbortSignal(const AbortSignal&) = delete;
  AbortSignal& operator=(const AbortSignal&) = delete;

  /// Keeps `reason` (must not be ok) unless one is there already. Returns whether this call was the first.
  bool trigger(Status reason) noexcept CKPT_EXCLUDES(mutex_);
  [[nodiscard]] bool triggered() const { return triggered_.load(std::memory_order_acquire); }
  /// ok until triggered, then the reason.
  [[nodiscard]] Status check() const CKPT_EXCLUDES(mutex_);
  /// Readable (POLLIN) for ever once triggered; never read from it.
  [[nodiscard]] int fd() const { return fd_.get(); }
  /// Async-signal-safe part of trigger(): wakes the waits without a reason; `check()` then says cancelled. For Ctrl-C handlers. Links are not told:
  /// an AbortRelay watches such a signal.
  void trigger_from_signal_handler() noexcept;

 private:
  friend class AbortLink;
  UniqueFd fd_;
  std::atomic<bool> triggered_{false};
  mutable Mutex mutex_;
  Status reason_ CKPT_GUARDED_BY(mutex_);
  mutable Mutex links_mutex_;  // held while links are told: the end of one waits for its act
  mutable std::vector<AbortLink*> links_ CKPT_GUARDED_BY(links_mutex_);
};

/// While it lives, `act` runs once when `source` is triggered by trigger(), on the thread that does so, or at once if it has been. Costs no thread.
/// `act` must not wait for anything, nor end a link of the same source. The source must outlive the link, whose destructor waits for `act` if it
/// runs.
class AbortLink {
 public:
  AbortLink(const AbortSignal& source, std::function<void(const Status&)> act);
  ~AbortLink();
  AbortLink(const AbortLink&) = delete;
  AbortLink& operator=(const AbortLink&) = delete;

 private:
  friend class AbortSignal;
  void tell(const Status& reason);

  const AbortSignal& source_;
  std::function<void(const Status&)> act_;
  std::atomic<bool> told_{false};
};

}  // namespace ckpt
