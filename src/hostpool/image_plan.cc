#include "hostpool/image_plan.h"

#include <algorithm>
#include <numeric>

#include "base/bytes.h"

namespace ckpt {
namespace {

/// Two ranges nearer than this become one image: reading the gap is cheaper than another request.
constexpr std::uint64_t kMergeGap = 16 * KiB;

struct Range {
  std::uint32_t file;
  std::uint64_t begin;
  std::uint64_t end;
  std::size_t extent;
};

std::vector<Range> collect(const Checkpoint& checkpoint, const CheckpointLayout& layout, std::uint32_t rank, std::vector<PlacedExtent>& extents) {
  std::vector<Range> ranges;
  for (std::uint32_t frame = 0; frame < layout.frames.frames.size(); ++frame) {
    for (std::uint32_t stripe = 0; stripe < layout.frames.frames[frame].stripes.size(); ++stripe) {
      for (const Extent& extent : extents_of(layout.frames, layout.parameters, frame, stripe, rank)) {
        const TensorLocation& location = checkpoint.locations[extent.parameter];
        const std::uint64_t begin = location.offset_bytes + extent.tensor_offset_bytes;
        ranges.push_back({location.file, begin, begin + extent.bytes, extents.size()});
        extents.push_back({frame, stripe, 0, 0, extent.frame_offset_bytes, extent.bytes});
      }
    }
  }
  return ranges;
}

void close_image(Image& image, std::uint64_t end, std::uint64_t file_bytes, std::uint64_t& arena_bytes) {
  image.bytes = std::min(align_up(end, kImageAlignment), file_bytes) - image.file_offset_bytes;
  arena_bytes = align_up(image.arena_offset_bytes + image.bytes, kImageAlignment);
}

}  // namespace

ImagePlan plan_images(const Checkpoint& checkpoint, const CheckpointLayout& layout, std::uint32_t rank) {
  ImagePlan plan;
  std::vector<Range> ranges = collect(checkpoint, layout, rank, plan.extents);
  std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return std::tie(a.file, a.begin) < std::tie(b.file, b.begin); });
  std::uint64_t end = 0;
  for (const Range& range : ranges) {
    const bool joins = !plan.images.empty() && plan.images.back().file == range.file && range.begin <= end + kMergeGap;
    if (!joins) {
      if (!plan.images.empty()) close_image(plan.images.back(), end, checkpoint.files[plan.images.back().file].bytes, plan.arena_bytes);
      plan.images.push_back({range.file, align_down(range.begin, kImageAlignment), 0, plan.arena_bytes});
      end = 0;
    }
    end = std::max(end, range.end);
    plan.extents[range.extent].image = static_cast<std::uint32_t>(plan.images.size() - 1);
    plan.extents[range.extent].image_offset_bytes = range.begin - plan.images.back().file_offset_bytes;
  }
  if (!plan.images.empty()) close_image(plan.images.back(), end, checkpoint.files[plan.images.back().file].bytes, plan.arena_bytes);
  return plan;
}

}  // namespace ckpt
