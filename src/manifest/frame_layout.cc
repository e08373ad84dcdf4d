#include "manifest/frame_layout.h"

#include <algorithm>

#include "base/bytes.h"
#include "manifest/layout_limits.h"

namespace ckpt {
namespace {

constexpr std::uint64_t kWantedFrames = 16;
constexpr std::uint64_t kLeastUnitBytes = 4 * MiB;

/// Whole stripes of num_ranks × unit, then one stripe of the rest.
void cut_into_stripes(Frame& frame, std::uint64_t unit, std::uint32_t num_ranks) {
  for (std::uint64_t offset = 0; offset < frame.bytes;) {
    const std::uint64_t bytes = std::min(unit * num_ranks, frame.bytes - offset);
    frame.stripes.push_back({offset, std::vector<std::uint64_t>(num_ranks, bytes / num_ranks)});
    offset += bytes;
  }
}

/// First placement whose tensor ends after `offset`. Placements rise, so a binary search on the start, then one step back.
std::size_t first_overlapping(const Frame& frame, std::span<const Parameter> parameters, std::uint64_t offset) {
  const auto after = std::upper_bound(frame.placements.begin(), frame.placements.end(), offset,
                                      [](std::uint64_t value, const Placement& p) { return value < p.offset_bytes; });
  auto index = static_cast<std::size_t>(after - frame.placements.begin());
  while (index > 0 && frame.placements[index - 1].offset_bytes + parameters[frame.placements[index - 1].parameter].bytes > offset) --index;
  return index;
}

}  // namespace

bool Stripe::even() const { return std::adjacent_find(unit_bytes.begin(), unit_bytes.end(), std::not_equal_to<>()) == unit_bytes.end(); }

std::uint64_t Stripe::bytes() const {
  std::uint64_t sum = 0;
  for (const std::uint64_t unit : unit_bytes) sum += unit;
  return sum;
}

std::uint64_t Stripe::unit_offset(std::uint32_t rank) const {
  std::uint64_t offset = offset_bytes;
  for (std::uint32_t r = 0; r < rank; ++r) offset += unit_bytes[r];
  return offset;
}

std::uint64_t FrameLayout::total_bytes() const {
  std::uint64_t sum = 0;
  for (const Frame& frame : frames) sum += frame.bytes;
  return sum;
}

std::uint64_t FrameLayout::bytes_of(std::uint32_t rank) const {
  std::uint64_t sum = 0;
  for (const Frame& frame : frames)
    for (const Stripe& stripe : frame.stripes) sum += stripe.unit_bytes[rank];
  return sum;
}

FrameOptions fit_frames(const FrameOptions& wanted, std::span<const Parameter> parameters, std::uint32_t num_ranks) {
  std::uint64_t total = 0;
  for (const Parameter& parameter : parameters) total = checked_add(total, parameter.bytes).value_or(UINT64_MAX);
  const std::uint64_t least = kLeastUnitBytes * num_ranks;
  return {std::min(wanted.bucket_bytes, std::max(total / kWantedFrames, least)), wanted.stripe_bytes};
}

Result<FrameLayout> make_striped_layout(std::span<const Parameter> parameters, std::uint32_t num_ranks, const FrameOptions& options) {
  CKPT_RETURN_IF_ERROR(check_layout_sizes(parameters, num_ranks));
  const std::uint64_t most = most_frame_bytes(parameters, options.bucket_bytes);
  const std::uint64_t unit = std::max(align_down(std::min(options.stripe_bytes, most / num_ranks), kTensorAlignment), kTensorAlignment);
  FrameLayout layout{num_ranks, 0, true, {}, options, {}};
  UnitBudget budget(num_ranks);
  Frame frame;
  std::uint64_t used = 0;
  const auto close = [&]() -> Status {
    frame.bytes = round_up(used, kTensorAlignment * num_ranks);
    CKPT_RETURN_IF_ERROR(budget.take(round_up(frame.bytes, unit * num_ranks) / (unit * num_ranks)));
    cut_into_stripes(frame, unit, num_ranks);
    layout.frame_bytes = std::max(layout.frame_bytes, frame.bytes);
    layout.frames.push_back(std::exchange(frame, {}));
    used = 0;
    return Status::success();
  };
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const std::uint64_t bytes = align_up(parameters[i].bytes, kTensorAlignment);
    if (used > 0 && used + bytes > most) CKPT_RETURN_IF_ERROR(close());
    frame.placements.push_back({static_cast<std::uint32_t>(i), used});
    used += bytes;
  }
  if (!frame.placements.empty()) CKPT_RETURN_IF_ERROR(close());
  return layout;
}

std::vector<Extent> extents_of(const FrameLayout& layout, std::span<const Parameter> parameters, std::uint32_t frame_index,
                               std::uint32_t stripe_index, std::uint32_t rank) {
  const Frame& frame = layout.frames[frame_index];
  const Stripe& stripe = frame.stripes[stripe_index];
  const std::uint64_t begin = stripe.unit_offset(rank);
  const std::uint64_t end = begin + stripe.unit_bytes[rank];
  std::vector<Extent> extents;
  for (std::size_t i = first_overlapping(frame, parameters, begin); i < frame.placements.size() && frame.placements[i].offset_bytes < end; ++i) {
    const Placement& placement = frame.placements[i];
    const std::uint64_t from = std::max(begin, placement.offset_bytes);
    const std::uint64_t to = std::min(end, placement.offset_bytes + parameters[placement.parameter].bytes);
    if (from < to) extents.push_back({placement.parameter, from - placement.offset_bytes, from, to - from});
  }
  return extents;
}

}  // namespace ckpt
