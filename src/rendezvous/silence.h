/// When a peer counts as dead although its connection stands: it has said nothing for too long.
#pragma once

#include "base/deadline.h"

namespace ckpt {

/// Guards against judging others by one's own absence: a process that was stopped finds the silence of all others on its return, and it means
/// nothing. Tell it each pass of the event loop; whoever was away for half the limit starts to listen anew.
class OwnPresence {
 public:
  OwnPresence(Duration heartbeat_timeout, TimePoint now) : limit_(heartbeat_timeout / 2), last_pass_(now) {}

  /// Whether this process was absent since the last pass, so that all that has been heard before must be forgiven.
  [[nodiscard]] bool was_away(TimePoint now) {
    const bool away = now - last_pass_ > limit_;
    last_pass_ = now;
    return away;
  }

 private:
  Duration limit_;
  TimePoint last_pass_;
};

}  // namespace ckpt
