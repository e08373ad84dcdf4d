/// A tensor in the shared device buffer, as a bucket message describes it.
#pragma once

#include <cstdint>
#include <vector>

#include "manifest/parameter.h"

namespace ckpt {

/// `offset_bytes` counts from the start of the shared buffer (slot included) and is a multiple of 256.
struct PlacedTensor {
  const Parameter* parameter;  ///< borrowed from the layout
  std::uint64_t offset_bytes;
};

/// Bytes of one unit in the buffer and their digest: what the receiver checks before it applies a bucket (native sessions only).
struct UnitCheck {
  struct Range {
    std::uint64_t offset_bytes;  ///< from the start of the shared buffer
    std::uint64_t bytes;
  };
  std::vector<Range> ranges;  ///< hashed in order as one stream
  std::uint64_t xxh3 = 0;     ///< xxh3-64, seed 0
  std::uint32_t rank = 0;     ///< who sent it, for the error
};

}  // namespace ckpt
