#include "manifest/frame_layout.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/check.h"

namespace ckpt {
namespace {

constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 62;

/// Bounds of all sizes first, so that no sum below can wrap.
Status check_sizes(std::span<const Parameter> parameters) {
  std::uint64_t total = 0;
  for (const Parameter& parameter : parameters) {
    const auto sum = checked_add(total, parameter.bytes);
    if (!sum || *sum > kMostBytes - kTensorAlignment * parameters.size())
      return {StatusCode::invalid_argument, Scope::operation, "the tensors up to {} take more than 2^62 bytes", parameter.name};
    total = *sum;
  }
  return Status::success();
}

std::uint64_t largest_frame(std::span<const Parameter> parameters, std::uint64_t bucket_bytes) {
  std::uint64_t largest = std::max(align_down(bucket_bytes, kTensorAlignment), kTensorAlignment);
  for (const Parameter& parameter : parameters) largest = std::max(largest, align_up(parameter.bytes, kTensorAlignment));
  return largest;
}

/// Cuts a frame of `used` bytes into whole stripes of num_ranks × unit, then one stripe of the rest.
void add_stripes(Frame& frame, std::uint64_t used, std::uint64_t unit, std::uint32_t num_ranks) {
  frame.bytes = round_up(used, kTensorAlignment * num_ranks);
  for (std::uint64_t offset = 0; offset < frame.bytes;) {
    const std::uint64_t bytes = std::min(unit * num_ranks, frame.bytes - offset);
    frame.stripes.push_back({offset, std::vector<std::uint64_t>(num_ranks, bytes / num_ranks)});
    offset += bytes;
  }
}

/// Packs a rank's tensors into its regions of successive frames; `capacity[f]` is the region's size in frame f (the last one repeats).
class SharePacker {
 public:
  SharePacker(std::span<const Parameter> parameters, std::size_t first, std::size_t end) : parameters_(parameters), next_(first), end_(end) {}

  /// Fills a region that starts at `offset` and takes at most `capacity` bytes (more only for a first tensor that is larger). Returns its size.
  std::uint64_t fill(Frame& frame, std::uint64_t offset, std::uint64_t capacity) {
    std::uint64_t used = 0;
    for (; next_ < end_; ++next_) {
      const std::uint64_t bytes = align_up(parameters_[next_].bytes, kTensorAlignment);
      if (used > 0 && used + bytes > capacity) break;
      if (used == 0 && bytes > capacity && capacity == 0) break;
      frame.placements.push_back({static_cast<std::uint32_t>(next_), offset + used});
      used += bytes;
    }
    return used;
  }
  [[nodiscard]] bool done() const { return next_ == end_; }
  [[nodiscard]] std::uint64_t next_bytes() const { return done() ? 0 : align_up(parameters_[next_].bytes, kTensorAlignment); }

 private:
  std::span<const Parameter> parameters_;
  std::size_t next_;
  std::size_t end_;
};

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

Result<FrameLayout> make_striped_layout(std::span<const Parameter> parameters, std::uint32_t num_ranks, const FrameOptions& options) {
  if (num_ranks == 0) return Status(StatusCode::invalid_argument, Scope::operation, "a layout needs at least one rank");
  CKPT_RETURN_IF_ERROR(check_sizes(parameters));
  const std::uint64_t most = largest_frame(parameters, options.bucket_bytes);
  const std::uint64_t unit = std::max(align_down(std::min(options.stripe_bytes, most / num_ranks), kTensorAlignment), kTensorAlignment);
  FrameLayout layout{num_ranks, 0, true, {}};
  Frame frame;
  std::uint64_t used = 0;
  const auto close = [&] {
    add_stripes(frame, used, unit, num_ranks);
    layout.frame_bytes = std::max(layout.frame_bytes, frame.bytes);
    layout.frames.push_back(std::exchange(frame, {}));
    used = 0;
  };
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const std::uint64_t bytes = align_up(parameters[i].bytes, kTensorAlignment);
    if (used > 0 && used + bytes > most) close();
    frame.placements.push_back({static_cast<std::uint32_t>(i), used});
    used += bytes;
  }
  if (!frame.placements.empty()) close();
  return layout;
}

Result<FrameLayout> make_share_layout(std::span<const Parameter> parameters, std::span<const std::uint32_t> owner, std::uint32_t num_ranks,
                                      const FrameOptions& options) {
  if (num_ranks == 0 || owner.size() != parameters.size())
    return Status(StatusCode::invalid_argument, Scope::operation, "a layout needs at least one rank, and an owner for each tensor");
  CKPT_RETURN_IF_ERROR(check_sizes(parameters));
  std::vector<SharePacker> packers;
  std::vector<std::uint64_t> share_bytes(num_ranks, 0);
  std::uint64_t total = 0;
  for (std::size_t i = 0, rank = 0; rank < num_ranks; ++rank) {
    const std::size_t first = i;
    for (; i < parameters.size() && owner[i] == rank; ++i) share_bytes[rank] += align_up(parameters[i].bytes, kTensorAlignment);
    if (rank + 1 == num_ranks && i != parameters.size())
      return Status(StatusCode::invalid_argument, Scope::operation, "tensor {} belongs to rank {}: owners must rise and stay below {} ranks",
                    parameters[i].name, owner[i], num_ranks);
    total += share_bytes[rank];
    packers.emplace_back(parameters, first, i);
  }
  const std::uint64_t most = largest_frame(parameters, options.bucket_bytes);
  FrameLayout layout{num_ranks, 0, false, {}};
  while (std::any_of(packers.begin(), packers.end(), [](const SharePacker& p) { return !p.done(); })) {
    Frame frame;
    Stripe stripe{0, std::vector<std::uint64_t>(num_ranks, 0)};
    for (std::uint32_t rank = 0; rank < num_ranks; ++rank) {
      // In proportion to the shares, so that all end in the same frame; a tensor that is larger than its part waits until it comes first in a frame.
      auto part = static_cast<std::uint64_t>(static_cast<double>(most) * static_cast<double>(share_bytes[rank]) /
                                             static_cast<double>(std::max<std::uint64_t>(total, 1)));
      const std::uint64_t left = most - std::min(most, frame.bytes);
      part = std::min(std::max(part, packers[rank].next_bytes()), left);
      if (packers[rank].next_bytes() > part) continue;
      stripe.unit_bytes[rank] = packers[rank].fill(frame, frame.bytes, part);
      frame.bytes += stripe.unit_bytes[rank];
    }
    CKPT_CHECK(!frame.placements.empty());
    if (frame.bytes > 0) frame.stripes.push_back(std::move(stripe));
    layout.frame_bytes = std::max(layout.frame_bytes, frame.bytes);
    layout.frames.push_back(std::move(frame));
  }
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
