#include "hostpool/pool_share.h"

#include <algorithm>

#include "base/bytes.h"
#include "hostpool/unit_digests.h"
#include "os/threads.h"

namespace ckpt {
namespace {

constexpr std::uint64_t kHashChunkBytes = 8u << 20;

}  // namespace

LoadedShare::LoadedShare(Device& device, std::shared_ptr<ArenaStore> store, std::size_t num_files)
    : device_(device), store_(std::move(store)), adopted_(num_files) {}

LoadedShare::~LoadedShare() {
  if (arena_) store_->give_back(std::move(arena_));
}

void LoadedShare::adopt(std::uint32_t file, Mapping mapping, const std::string& path) {
  segments_.push_back({reinterpret_cast<std::uint64_t>(mapping.data()), mapping.bytes(), path});
  adopted_[file] = std::move(mapping);
}

void LoadedShare::expect(const ImagePlan& plan, const Chunk& chunk) {
  const Image& image = plan.images[chunk.image];
  if (!adopted(image.file)) return arena_->registered().expect(image.arena_offset_bytes + chunk.offset_bytes, chunk.bytes);
  registered_.resize(plan.images.size());
  std::unique_ptr<RegisteredMemory>& registered = registered_[chunk.image];
  const std::span<std::byte> memory{adopted_[image.file].data() + image.file_offset_bytes, align_up(image.bytes, kImageAlignment)};
  if (!registered) registered = std::make_unique<RegisteredMemory>(device_, memory, Access::read_only);
  registered->expect(chunk.offset_bytes, chunk.bytes);
}

Status LoadedShare::arrived(const ImagePlan& plan, const Chunk& chunk) {
  const Image& image = plan.images[chunk.image];
  if (adopted(image.file)) return registered_[chunk.image]->arrived(chunk.offset_bytes, chunk.bytes);
  return arena_->registered().arrived(image.arena_offset_bytes + chunk.offset_bytes, chunk.bytes);
}

std::uint64_t LoadedShare::bytes_to_border(const Image& image, std::uint64_t offset_bytes) const {
  return RegisteredMemory::bytes_to_border(adopted(image.file) ? offset_bytes : image.arena_offset_bytes + offset_bytes);
}

Status LoadedShare::take_arena(const ArenaRequest& request) {
  CKPT_ASSIGN_OR_RETURN(arena_, store_->take(request));
  segments_.push_back({reinterpret_cast<std::uint64_t>(arena_->memory().data()), arena_->memory().size(), ""});
  return Status::success();
}

const std::byte* LoadedShare::address_of(const Image& image) const {
  if (adopted(image.file)) return adopted_[image.file].data() + image.file_offset_bytes;
  return arena_->memory().data() + image.arena_offset_bytes;
}

void LoadedShare::make_runs(const ImagePlan& plan, const FrameLayout& layout) {
  images_ = plan.images;
  first_stripe_.clear();
  first_run_.clear();
  runs_.clear();
  std::size_t stripes = 0;
  for (const Frame& frame : layout.frames) {
    first_stripe_.push_back(stripes);
    stripes += frame.stripes.size();
  }
  first_run_.reserve(stripes + 1);
  for (const PlacedExtent& extent : plan.extents) {
    const std::size_t stripe = first_stripe_[extent.frame] + extent.stripe;
    while (first_run_.size() <= stripe) first_run_.push_back(runs_.size());
    const Image& image = plan.images[extent.image];
    for (std::uint64_t done = 0; done < extent.bytes;) {
      const std::uint64_t at = extent.image_offset_bytes + done;
      const std::uint64_t border = bytes_to_border(image, at);
      const std::uint64_t bytes = std::min(extent.bytes - done, border);
      add_run({address_of(image) + at, extent.frame_offset_bytes + done, bytes}, stripe, border == RegisteredMemory::kPieceBytes);
      done += bytes;
    }
  }
  while (first_run_.size() <= stripes) first_run_.push_back(runs_.size());
}

void LoadedShare::add_run(const CopyRun& run, std::size_t stripe, bool starts_piece) {
  CopyRun* last = runs_.size() == first_run_[stripe] || starts_piece ? nullptr : &runs_.back();
  if (last != nullptr && last->source + last->bytes == run.source && last->frame_offset_bytes + last->bytes == run.frame_offset_bytes)
    last->bytes += run.bytes;
  else
    runs_.push_back(run);
}

std::span<const CopyRun> LoadedShare::runs(std::uint32_t frame, std::uint32_t stripe) const {
  const std::size_t index = first_stripe_[frame] + stripe;
  return std::span(runs_).subspan(first_run_[index], first_run_[index + 1] - first_run_[index]);
}

Status LoadedShare::lay_out_again(const Checkpoint& checkpoint, const CheckpointLayout& layout, std::uint32_t rank, bool digests,
                                  const AbortSignal& abort) {
  const ImagePlan plan = plan_images(checkpoint, layout, rank);
  if (plan.images != images_)
    return {StatusCode::internal, Scope::operation,  "the share of rank {} was loaded as {} images, and its new layout has {} others", rank,
            images_.size(),       plan.images.size()};
  make_runs(plan, layout.frames);
  digests_.clear();
  if (!digests) return Status::success();
  const ImageChunks chunks(plan, kHashChunkBytes);
  UnitDigests units(plan, chunks, *this);
  CKPT_RETURN_IF_ERROR(parallel_for(chunks.all().size(), usable_cores(), [&](std::size_t i) { return units.chunk_is_there(i, abort); }));
  digests_ = units.take();
  return Status::success();
}

std::uint64_t LoadedShare::bytes() const {
  std::uint64_t sum = 0;
  for (const SegmentInfo& segment : segments_) sum += segment.bytes;
  return sum;
}

}  // namespace ckpt
