#include "hostpool/pool_share.h"

namespace ckpt {

LoadedShare::LoadedShare(Device& device, std::shared_ptr<ArenaStore> store, std::size_t num_files)
    : device_(device), store_(std::move(store)), adopted_(num_files) {}

LoadedShare::~LoadedShare() {
  for (const Mapping& mapping : adopted_)
    if (mapping.data() != nullptr) device_.unregister_host(mapping.span());
  if (arena_) store_->give_back(std::move(arena_));
}

Status LoadedShare::adopt(std::uint32_t file, Mapping mapping, const std::string& path) {
  CKPT_RETURN_IF_ERROR(device_.register_host(mapping.span()).with_note("{}", path));
  segments_.push_back({reinterpret_cast<std::uint64_t>(mapping.data()), mapping.bytes(), path});
  adopted_[file] = std::move(mapping);
  return Status::success();
}

Status LoadedShare::take_arena(std::uint64_t bytes) {
  CKPT_ASSIGN_OR_RETURN(arena_, store_->take(bytes));
  segments_.push_back({reinterpret_cast<std::uint64_t>(arena_->memory().data()), arena_->memory().size(), ""});
  return Status::success();
}

const std::byte* LoadedShare::address_of(const Image& image) const {
  if (adopted(image.file)) return adopted_[image.file].data() + image.file_offset_bytes;
  return arena_->memory().data() + image.arena_offset_bytes;
}

void LoadedShare::make_runs(const ImagePlan& plan, const FrameLayout& layout) {
  std::size_t stripes = 0;
  for (const Frame& frame : layout.frames) {
    first_stripe_.push_back(stripes);
    stripes += frame.stripes.size();
  }
  first_run_.reserve(stripes + 1);
  for (const PlacedExtent& extent : plan.extents) {
    const std::size_t stripe = first_stripe_[extent.frame] + extent.stripe;
    while (first_run_.size() <= stripe) first_run_.push_back(runs_.size());
    const std::byte* source = address_of(plan.images[extent.image]) + extent.image_offset_bytes;
    const bool first_of_stripe = runs_.size() == first_run_[stripe];
    CopyRun* last = first_of_stripe ? nullptr : &runs_.back();
    if (last != nullptr && last->source + last->bytes == source && last->frame_offset_bytes + last->bytes == extent.frame_offset_bytes)
      last->bytes += extent.bytes;
    else
      runs_.push_back({source, extent.frame_offset_bytes, extent.bytes});
  }
  while (first_run_.size() <= stripes) first_run_.push_back(runs_.size());
}

std::span<const CopyRun> LoadedShare::runs(std::uint32_t frame, std::uint32_t stripe) const {
  const std::size_t index = first_stripe_[frame] + stripe;
  return std::span(runs_).subspan(first_run_[index], first_run_[index + 1] - first_run_[index]);
}

std::uint64_t LoadedShare::bytes() const {
  std::uint64_t sum = 0;
  for (const SegmentInfo& segment : segments_) sum += segment.bytes;
  return sum;
}

}  // namespace ckpt
