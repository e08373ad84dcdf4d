#include "manifest/layout_limits.h"

#include <algorithm>

#include "base/bytes.h"

namespace ckpt {

Status UnitBudget::take(std::uint64_t num_stripes) {
  if (num_stripes > left_ / cost_of_stripe_)
    return Status(StatusCode::invalid_argument, Scope::operation, "the layout would have more than {} stripes of {} ranks",
                  kMostCost / cost_of_stripe_, cost_of_stripe_ - 8)
        .advise("raise --stripe-size or --bucket-size");
  left_ -= num_stripes * cost_of_stripe_;
  return Status::success();
}

Status check_layout_sizes(std::span<const Parameter> parameters, std::uint32_t num_ranks) {
  if (num_ranks == 0 || num_ranks > kMostRanks)
    return {StatusCode::invalid_argument, Scope::operation, "a layout of {} ranks: give 1 to {}", num_ranks, kMostRanks};
  if (parameters.size() > std::numeric_limits<std::uint32_t>::max())
    return {StatusCode::invalid_argument, Scope::operation, "a layout of {} tensors: at most 2^32 - 1", parameters.size()};
  std::uint64_t total = 0;
  for (const Parameter& parameter : parameters) {
    const auto sum = checked_add(total, parameter.bytes);
    if (!sum || *sum > kMostLayoutBytes - kTensorAlignment * parameters.size())
      return {StatusCode::invalid_argument, Scope::operation, "the tensors up to {} take more than 2^62 bytes", parameter.name};
    total = *sum;
  }
  return Status::success();
}

std::uint64_t most_frame_bytes(std::span<const Parameter> parameters, std::uint64_t bucket_bytes) {
  std::uint64_t most = std::max(align_down(std::min(bucket_bytes, kMostLayoutBytes), kTensorAlignment), kTensorAlignment);
  for (const Parameter& parameter : parameters) most = std::max(most, align_up(parameter.bytes, kTensorAlignment));
  return most;
}

}  // namespace ckpt
