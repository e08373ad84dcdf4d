/// Digests of a checkpoint's tensors, read from its files: what engines report of their weights can be compared with them.
#pragma once

#include <cstdint>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "ckpt/result.h"

namespace ckpt {

/// xxh3-64 (seed 0) of the bytes of each parameter, by index. Reads the whole checkpoint, in pieces. not_found, data_corruption (a file that is
/// shorter than it was when it was opened), or the system's error, naming the file.
[[nodiscard]] Result<std::vector<std::uint64_t>> tensor_digests(const Checkpoint& checkpoint);

}  // namespace ckpt
