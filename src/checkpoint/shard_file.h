/// One safetensors file of a checkpoint, from its header alone.
#pragma once

#include <cstdint>
#include <string>

#include "checkpoint/checkpoint.h"
#include "checkpoint/problems.h"
#include "checkpoint/safetensors_header.h"

namespace ckpt {

struct ShardFile {
  CheckpointFile file;
  SafetensorsHeader header;
  std::uint64_t data_offset = 0;  ///< of the file: header and its length
};

/// Opens `path` and reads its header, whose length is checked against the file's before memory is taken for it. Problems name the path.
/// What could be read is returned.
[[nodiscard]] ShardFile open_shard(const std::string& path, ProblemList& problems);

}  // namespace ckpt
