/// Images cut into pieces of one read each, in file order. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "hostpool/image_plan.h"

namespace ckpt {

/// A part of an image.
struct Chunk {
  std::uint32_t image;
  std::uint64_t offset_bytes;  ///< from the start of the image; a multiple of kImageAlignment
  std::uint64_t bytes;         ///< > 0
};

/// All chunks of a plan, and the way from a byte to its chunk.
class ImageChunks {
 public:
  /// `chunk_bytes` is rounded up to kImageAlignment.
  ImageChunks(const ImagePlan& plan, std::uint64_t chunk_bytes);

  [[nodiscard]] const std::vector<Chunk>& all() const { return chunks_; }
  /// Index of the chunk that holds this byte of the image.
  [[nodiscard]] std::size_t index_of(std::uint32_t image, std::uint64_t offset_bytes) const { return first_[image] + offset_bytes / step_; }

 private:
  std::uint64_t step_;
  std::vector<Chunk> chunks_;
  std::vector<std::size_t> first_;  // by image
};

}  // namespace ckpt
