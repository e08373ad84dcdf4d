#include "pipeline/bucket_table.h"

namespace ckpt {
namespace {

Bucket place(const Plan& plan, std::uint32_t frame) {
  Bucket bucket;
  bucket.slot_offset_bytes = plan.slot_of(frame) * plan.slot_bytes;
  const Frame& placed = plan.layout->frames.frames[frame];
  bucket.tensors.reserve(placed.placements.size());
  for (const Placement& placement : placed.placements) {
    const Parameter& parameter = plan.layout->parameters[placement.parameter];
    bucket.tensors.push_back({&parameter, bucket.slot_offset_bytes + placement.offset_bytes});
    bucket.tensor_bytes += parameter.bytes;
  }
  return bucket;
}

Status add_checks(const Plan& plan, std::uint32_t rank, std::span<const UnitDigest> digests, std::vector<Bucket>& buckets) {
  const CheckpointLayout& layout = *plan.layout;
  for (const UnitDigest& digest : digests) {
    if (digest.frame >= buckets.size() || digest.stripe >= layout.frames.frames[digest.frame].stripes.size())
      return {StatusCode::invalid_argument,
              Scope::group,
              "rank {} sent a digest of frame {} stripe {}, which the plan does not have",
              rank,
              digest.frame,
              digest.stripe};
    Bucket& bucket = buckets[digest.frame];
    UnitCheck check{{}, digest.xxh3, rank};
    for (const Extent& extent : extents_of(layout.frames, layout.parameters, digest.frame, digest.stripe, rank))
      check.ranges.push_back({bucket.slot_offset_bytes + extent.frame_offset_bytes, extent.bytes});
    if (!check.ranges.empty()) bucket.checks.push_back(std::move(check));
  }
  return Status::success();
}

}  // namespace

void BucketTable::encode(Dialect dialect) {
  const bool pickles = dialect != Dialect::native && !has_pickles_;
  const bool native = (dialect == Dialect::native || dialect == Dialect::automatic) && !has_native_;
  for (std::uint32_t frame = 0; (pickles || native) && frame < buckets_.size(); ++frame) {
    Bucket& bucket = buckets_[frame];
    if (pickles) bucket.pickle = encode_bucket(Dialect::two, frame, bucket.tensors, bucket.checks);
    if (native) bucket.native = encode_bucket(Dialect::native, frame, bucket.tensors, bucket.checks);
  }
  has_pickles_ = has_pickles_ || pickles;
  has_native_ = has_native_ || native;
}

Result<BucketTable> BucketTable::create(const Plan& plan, std::span<const std::span<const UnitDigest>> digests_of_rank) {
  BucketTable table;
  const auto num_frames = static_cast<std::uint32_t>(plan.layout->frames.frames.size());
  for (std::uint32_t frame = 0; frame < num_frames; ++frame) table.buckets_.push_back(place(plan, frame));
  bool verified = false;
  for (std::uint32_t rank = 0; rank < digests_of_rank.size(); ++rank) {
    verified = verified || !digests_of_rank[rank].empty();
    CKPT_RETURN_IF_ERROR(add_checks(plan, rank, digests_of_rank[rank], table.buckets_));
  }
  for (std::uint32_t rank = 0; rank < digests_of_rank.size(); ++rank)
    if (verified && digests_of_rank[rank].empty() && plan.layout->frames.bytes_of(rank) > 0)
      return Status(StatusCode::invalid_argument, Scope::group,
                    "rank {} gave no digests although others did: start every rank with --verify, or none", rank);
  return table;
}

}  // namespace ckpt
