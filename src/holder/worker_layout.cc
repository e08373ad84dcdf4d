#include "holder/worker_layout.h"

#include "base/bytes.h"

namespace ckpt {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kMaxArena = std::uint64_t{1} << 62;

}  // namespace

std::uint64_t WorkerLayout::weight_bytes() const {
  std::uint64_t total = 0;
  for (const PlacedShard& placed : shards) total += placed.shard.bytes();
  return total;
}

Result<WorkerLayout> make_worker_layout(const HolderModel& model, std::uint32_t tp, std::uint32_t rank) {
  CKPT_ASSIGN_OR_RETURN(std::vector<TensorShard> shards, make_tp_layout(model.parameters, model.config, tp, rank));
  WorkerLayout layout;
  layout.shards.reserve(shards.size());
  std::uint64_t offset = 0;
  for (TensorShard& shard : shards) {
    const auto end = checked_add(offset, shard.bytes());
    if (!end || *end > kMaxArena)
      return Status(StatusCode::resource_exhausted, Scope::operation, "the shards of worker {} are larger than any memory", rank);
    layout.shards.push_back({std::move(shard), offset});
    offset = align_up(*end, kTensorAlignment);
  }
  layout.digests_offset_bytes = offset;
  layout.arena_bytes = align_up(offset + layout.shards.size() * sizeof(std::uint64_t) + 1, kPage);  // + 1: never empty
  return layout;
}

}  // namespace ckpt
