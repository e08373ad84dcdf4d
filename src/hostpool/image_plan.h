/// Which ranges of the files a rank needs, and where they lie in its arena. Pure.
///
///   unit     |tail of t3|t4 |t5|head of t6|       what a rank holds of a stripe
///   file     …t3|t4|t5|t6…                        the same bytes, back to back
///   image    [aligned down … aligned up)          read whole; address and file offset agree modulo 4096
#pragma once

#include <cstdint>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "manifest/manifest.h"

namespace ckpt {

/// What direct I/O wants of offsets, sizes and addresses on every file system we know.
inline constexpr std::uint64_t kImageAlignment = 4096;

/// A range of a file that is read as a whole.
struct Image {
  std::uint32_t file;
  std::uint64_t file_offset_bytes;   ///< a multiple of kImageAlignment
  std::uint64_t bytes;               ///< a multiple of it, too, but at the end of the file
  std::uint64_t arena_offset_bytes;  ///< a multiple of it
  friend bool operator==(const Image&, const Image&) = default;
};

/// One extent of this rank with its place in an image.
struct PlacedExtent {
  std::uint32_t frame;
  std::uint32_t stripe;
  std::uint32_t image;
  std::uint64_t image_offset_bytes;
  std::uint64_t frame_offset_bytes;
  std::uint64_t bytes;
};

struct ImagePlan {
  std::vector<Image> images;
  std::vector<PlacedExtent> extents;  ///< by frame, stripe, offset
  std::uint64_t arena_bytes = 0;
};

/// The images of `rank`. `checkpoint.locations[i]` belongs to `layout.parameters[i]`, for those that this rank holds.
[[nodiscard]] ImagePlan plan_images(const Checkpoint& checkpoint, const CheckpointLayout& layout, std::uint32_t rank);

}  // namespace ckpt
