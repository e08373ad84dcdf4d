/// Several safetensors files as one checkpoint.
#pragma once

#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/problems.h"
#include "checkpoint/shard_file.h"

namespace ckpt {

/// Puts shards together, one after the other. A tensor that two of them hold is a problem.
[[nodiscard]] Checkpoint join_shards(std::vector<ShardFile> shards, ProblemList& problems);

}  // namespace ckpt
