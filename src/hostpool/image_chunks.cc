#include "hostpool/image_chunks.h"

#include <algorithm>

#include "base/bytes.h"

namespace ckpt {

ImageChunks::ImageChunks(const ImagePlan& plan, std::uint64_t chunk_bytes)
    : step_(align_up(std::max<std::uint64_t>(chunk_bytes, 1), kImageAlignment)) {
  first_.reserve(plan.images.size());
  for (std::uint32_t i = 0; i < plan.images.size(); ++i) {
    first_.push_back(chunks_.size());
    for (std::uint64_t at = 0; at < plan.images[i].bytes; at += step_) chunks_.push_back({i, at, std::min(step_, plan.images[i].bytes - at)});
  }
}

}  // namespace ckpt
