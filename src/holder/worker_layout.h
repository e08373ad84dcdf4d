/// Where the shards of one worker lie in each of its arenas.
///
///   |shard 0|pad|shard 1|pad|…|digest table: one xxh3-64 a parameter|     shards at multiples of 256 bytes
#pragma once

#include <cstdint>
#include <vector>

#include "ckpt/result.h"
#include "holder/model.h"
#include "holder/tp_layout.h"

namespace ckpt {

struct PlacedShard {
  TensorShard shard;
  std::uint64_t offset_bytes = 0;
};

/// Index = that of the model's parameter.
struct WorkerLayout {
  std::vector<PlacedShard> shards;
  std::uint64_t digests_offset_bytes = 0;  ///< of the digest table
  std::uint64_t arena_bytes = 0;           ///< a multiple of the page size

  [[nodiscard]] std::uint64_t weight_bytes() const;
};

/// The errors of make_tp_layout; resource_exhausted when the sizes overflow.
[[nodiscard]] Result<WorkerLayout> make_worker_layout(const HolderModel& model, std::uint32_t tp, std::uint32_t rank);

}  // namespace ckpt
