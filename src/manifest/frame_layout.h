/// How the tensors of a checkpoint are packed into frames, and which rank holds which bytes of each frame. Pure values and functions: equal
/// inputs give equal layouts on every rank, so nothing of it travels but its digest.
///
///   file order    t0 t1 t2 t3 t4 …                    each tensor at a multiple of 256 bytes
///   frame 0       |t0   |t1 |t2        |pad|          at most frame_bytes = max(largest tensor, wanted bucket), rounded up
///   striped       |stripe 0: r0 r1 r2 r3|stripe 1: r0 r1 r2 r3|…|last: rest/N each|
///   shares        |rank 0's tensors       |rank 1's|rank 3's             |     one stripe of uneven units
///
/// Rank r holds the r-th unit of each stripe, so a tensor may lie on several ranks. A slot of the device buffer takes one frame.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ckpt/result.h"
#include "manifest/parameter.h"

namespace ckpt {

/// Where one tensor lies in a frame.
struct Placement {
  std::uint32_t parameter;     ///< index into the layout's parameter list
  std::uint64_t offset_bytes;  ///< from the start of the frame; a multiple of 256

  friend bool operator==(const Placement&, const Placement&) = default;
};

/// N adjacent units, one a rank in rank order. Even stripes are one all-gather, uneven ones grouped broadcasts.
struct Stripe {
  std::uint64_t offset_bytes;             ///< from the start of the frame; a multiple of 256
  std::vector<std::uint64_t> unit_bytes;  ///< one a rank; each a multiple of 256, may be 0

  [[nodiscard]] bool even() const;
  [[nodiscard]] std::uint64_t bytes() const;
  /// Offset of `rank`'s unit from the start of the frame.
  [[nodiscard]] std::uint64_t unit_offset(std::uint32_t rank) const;
  friend bool operator==(const Stripe&, const Stripe&) = default;
};

struct Frame {
  std::uint64_t bytes = 0;            ///< stripes together; a multiple of 256
  std::vector<Placement> placements;  ///< by rising offset; tensors of no bytes included
  std::vector<Stripe> stripes;        ///< adjacent, covering [0, bytes)
  friend bool operator==(const Frame&, const Frame&) = default;
};

/// What sizes the frames.
struct FrameOptions {
  std::uint64_t bucket_bytes = 0;  ///< wanted frame size; rounded down to a multiple of 256, at least 256
  std::uint64_t stripe_bytes = 0;  ///< most bytes of a unit: a stripe is num_ranks × min(stripe_bytes, frame / num_ranks); unused by shares
  friend bool operator==(const FrameOptions&, const FrameOptions&) = default;
};

/// The whole packing. Immutable once made.
struct FrameLayout {
  std::uint32_t num_ranks = 0;
  std::uint64_t frame_bytes = 0;  ///< largest frame: what a slot must take
  bool striped = true;            ///< false: shares given by the caller
  std::vector<Frame> frames;
  FrameOptions options;               ///< that it was made with: with the parameters, all it takes to make it again
  std::vector<std::uint32_t> shares;  ///< number of parameters of each rank's share; empty when striped

  [[nodiscard]] std::uint64_t total_bytes() const;                 ///< of all frames, padding included
  [[nodiscard]] std::uint64_t bytes_of(std::uint32_t rank) const;  ///< what `rank` holds, padding included
  friend bool operator==(const FrameLayout&, const FrameLayout&) = default;
};

/// `wanted` with a smaller bucket where the checkpoint is small, so that it still makes about 16 frames: with one or two no stage overlaps another,
/// and populating slots of their size takes longer than the transfer. Units stay at 4 MiB or more.
[[nodiscard]] FrameOptions fit_frames(const FrameOptions& wanted, std::span<const Parameter> parameters, std::uint32_t num_ranks);

/// Frames striped over `num_ranks` (≥ 1) from the parameters in file order.
/// invalid_argument: more than 2^62 bytes in all, or so many stripes that describing them would take hundreds of megabytes.
[[nodiscard]] Result<FrameLayout> make_striped_layout(std::span<const Parameter> parameters, std::uint32_t num_ranks, const FrameOptions& options);

/// Frames of shares that the caller gave: `parameters` holds rank 0's tensors, then rank 1's, …; `owner[i]` (non-decreasing) is the rank of
/// parameter i. Tensors stay whole on their rank, in order; each frame takes from every rank in proportion to its share, so that all links work on
/// it. Errors as above, and owners that fall or name no rank.
[[nodiscard]] Result<FrameLayout> make_share_layout(std::span<const Parameter> parameters, std::span<const std::uint32_t> owner,
                                                    std::uint32_t num_ranks, const FrameOptions& options);

/// The part of one tensor that lies in one rank's unit of one stripe.
struct Extent {
  std::uint32_t parameter;
  std::uint64_t tensor_offset_bytes;  ///< from the start of the tensor
  std::uint64_t frame_offset_bytes;   ///< from the start of the frame
  std::uint64_t bytes;                ///< > 0
  friend bool operator==(const Extent&, const Extent&) = default;
};

/// The extents of `rank`'s unit in `stripe` of `frame`, by rising offset.
[[nodiscard]] std::vector<Extent> extents_of(const FrameLayout& layout, std::span<const Parameter> parameters, std::uint32_t frame,
                                             std::uint32_t stripe, std::uint32_t rank);

}  // namespace ckpt
