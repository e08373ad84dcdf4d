#include "base/deadline.h"

#include <algorithm>
#include <limits>

namespace ckpt {
namespace {

class RealClock final : public Clock {
 public:
  [[nodiscard]] TimePoint now() const override { return std::chrono::steady_clock::now(); }
};

}  // namespace

const Clock& Clock::real() {
  static const RealClock clock;
  return clock;
}

Deadline Deadline::after(Duration timeout, const Clock& clock) {
  const TimePoint now = clock.now();
  if (timeout > TimePoint::max() - now) return {TimePoint::max(), clock};
  return {now + std::max(timeout, Duration::zero()), clock};
}

Duration Deadline::remaining() const { return std::max(time_ - clock_->now(), Duration::zero()); }

int Deadline::poll_ms() const {
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(std::min<Duration>(remaining(), std::chrono::hours(24))).count();
  return static_cast<int>(std::min<std::int64_t>(ms, std::numeric_limits<int>::max()));
}

Deadline Deadline::capped(Duration timeout) const {
  const Deadline other = after(timeout, *clock_);
  return other.time_ < time_ ? other : *this;
}

Status Deadline::check(std::string_view waited_for) const {
  if (!passed()) return Status::success();
  return {StatusCode::deadline_exceeded, Scope::operation, "{}: the deadline has passed", waited_for};
}

std::string format_duration(Duration duration) {
  const double s = seconds(duration);
  if (s >= 100) return fmt::format("{:.0f} s", s);
  if (s >= 1) return fmt::format("{:.2f} s", s);
  if (s >= 1e-3) return fmt::format("{:.1f} ms", s * 1e3);
  return fmt::format("{:.0f} µs", s * 1e6);
}

}  // namespace ckpt
