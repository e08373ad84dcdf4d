/// What a rank has of one checkpoint: its part in the pool, and what was gathered and planned for it.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "hostpool/host_pool.h"
#include "manifest/manifest.h"
#include "pipeline/bucket_table.h"
#include "plan/plan.h"

namespace ckpt {

struct RegisterOptions {
  bool verify = false;  ///< take digests while loading
  bool adopt = false;   ///< map files under /dev/shm in place
};

/// Owned by its name, and by the history of versions as long as that keeps it.
struct Registration {
  Checkpoint checkpoint;  ///< what this rank named
  RegisterOptions options;
  bool share = false;   ///< this rank's own, and not the same on all
  bool listed = false;  ///< under its name
  std::shared_ptr<const CheckpointLayout> layout;
  std::uint64_t layout_digest = 0;
  std::unique_ptr<PoolShare> part;
  std::vector<Manifest> manifests;  ///< by rank; empty before gather_metas
  std::uint64_t plan_key = 0;       ///< of `plan`
  std::unique_ptr<Plan> plan;
  std::unique_ptr<BucketTable> buckets;
};

}  // namespace ckpt
