/// How a rate is measured beside its limit: both by the same clock, in turn.
#pragma once

#include <algorithm>
#include <functional>
#include <vector>

#include "base/deadline.h"
#include "server/host_rates.h"

namespace ckpt {

inline double median_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

[[nodiscard]] inline Result<double> timed(const std::function<Status()>& work) {
  const TimePoint begin = Clock::real().now();
  CKPT_RETURN_IF_ERROR(work());
  return seconds(Clock::real().now() - begin);
}

/// The product and its limit in turn, `rounds` times, so that a machine that drifts does so for both; the medians go into `row`. `before` (may be
/// null) runs before each, outside the time.
[[nodiscard]] inline Status interleave(RateRow& row, unsigned rounds, const std::function<Status()>& before, const std::function<Status()>& product,
                                       const std::function<Status()>& limit) {
  std::vector<double> ours;
  std::vector<double> limits;
  for (unsigned round = 0; round < rounds; ++round) {
    if (before) CKPT_RETURN_IF_ERROR(before());
    CKPT_ASSIGN_OR_RETURN(const double product_seconds, timed(product));
    if (before) CKPT_RETURN_IF_ERROR(before());
    CKPT_ASSIGN_OR_RETURN(const double limit_seconds, timed(limit));
    ours.push_back(product_seconds);
    limits.push_back(limit_seconds);
  }
  row.seconds = median_of(std::move(ours));
  row.limit_seconds = median_of(std::move(limits));
  return Status::success();
}

}  // namespace ckpt
