/// Points in time after which waiting is an error, and the clock they are read from.
#pragma once

#include <chrono>
#include <string_view>

#include "ckpt/status.h"

namespace ckpt {

using Duration = std::chrono::nanoseconds;
using TimePoint = std::chrono::time_point<std::chrono::steady_clock, Duration>;

/// Source of time. Tests pass their own; everything else reads `Clock::real()`. Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  [[nodiscard]] virtual TimePoint now() const = 0;
  [[nodiscard]] static const Clock& real();
};

/// Point in time after which waiting is an error. Absolute: passed down unchanged. The clock must outlive it.
class Deadline {
 public:
  [[nodiscard]] static Deadline after(Duration timeout, const Clock& clock = Clock::real());  ///< saturates; never "none"

  [[nodiscard]] Duration remaining() const;  ///< 0 if passed; never negative
  [[nodiscard]] bool passed() const { return remaining() == Duration::zero(); }
  /// Milliseconds for poll(2): rounded up, so that a wait never spins on 0 before the deadline; at most `INT_MAX`.
  [[nodiscard]] int poll_ms() const;
  [[nodiscard]] TimePoint time() const { return time_; }
  /// The earlier of this and `timeout` from now: a bound for one step inside a larger operation.
  [[nodiscard]] Deadline capped(Duration timeout) const;
  /// ok, or deadline_exceeded naming `waited_for`.
  [[nodiscard]] Status check(std::string_view waited_for) const;

 private:
  Deadline(TimePoint time, const Clock& clock) : time_(time), clock_(&clock) {}
  TimePoint time_;
  const Clock* clock_;
};

/// `1.5 s`, `20 ms`, `12 µs`: for people.
[[nodiscard]] std::string format_duration(Duration duration);
[[nodiscard]] inline double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace ckpt
