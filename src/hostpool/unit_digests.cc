#include "hostpool/unit_digests.h"

#include <algorithm>
#include <utility>

#include "manifest/xxh3.h"

namespace ckpt {
namespace {

struct Need {
  std::size_t chunk;
  std::size_t unit;
  friend auto operator<=>(const Need&, const Need&) = default;
};

}  // namespace

UnitDigests::UnitDigests(const ImagePlan& plan, const ImageChunks& chunks, const PoolShare& share) : share_(share) {
  std::vector<Need> needs;
  for (const PlacedExtent& extent : plan.extents) {
    if (digests_.empty() || digests_.back().frame != extent.frame || digests_.back().stripe != extent.stripe)
      digests_.push_back({extent.frame, extent.stripe, 0});
    const std::size_t last = chunks.index_of(extent.image, extent.image_offset_bytes + extent.bytes - 1);
    for (std::size_t chunk = chunks.index_of(extent.image, extent.image_offset_bytes); chunk <= last; ++chunk)
      if (const Need need{chunk, digests_.size() - 1}; needs.empty() || needs.back() != need) needs.push_back(need);
  }
  std::sort(needs.begin(), needs.end());
  needs.erase(std::unique(needs.begin(), needs.end()), needs.end());
  chunks_left_ = std::make_unique<std::atomic<std::size_t>[]>(digests_.size());
  for (const Need& need : needs) {
    while (first_unit_.size() <= need.chunk) first_unit_.push_back(units_.size());
    units_.push_back(need.unit);
    ++chunks_left_[need.unit];
  }
  while (first_unit_.size() <= chunks.all().size()) first_unit_.push_back(units_.size());
}

Status UnitDigests::chunk_is_there(std::size_t index, const AbortSignal& abort) {
  for (std::size_t i = first_unit_[index]; i < first_unit_[index + 1]; ++i)
    if (chunks_left_[units_[i]].fetch_sub(1, std::memory_order_acq_rel) == 1) CKPT_RETURN_IF_ERROR(hash(digests_[units_[i]], abort));
  return Status::success();
}

Status UnitDigests::hash(UnitDigest& digest, const AbortSignal& abort) const {
  XXH3_state_t state;
  XXH3_64bits_reset(&state);
  for (const CopyRun& run : share_.runs(digest.frame, digest.stripe)) {
    CKPT_RETURN_IF_ERROR(abort.check());
    XXH3_64bits_update(&state, run.source, run.bytes);
  }
  digest.xxh3 = XXH3_64bits_digest(&state);
  return Status::success();
}

}  // namespace ckpt
