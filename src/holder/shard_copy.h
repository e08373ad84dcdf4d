/// The one copy of an update on the engine's side: a tensor's shard from the sender's slot into the arena, and its digest on the way.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "holder/tp_layout.h"

namespace ckpt {

/// Gathers the runs of `shard` out of `tensor` (the whole one) into `destination` (shard.bytes() long), and returns the xxh3-64 (seed 0) of what it
/// wrote. The digest is taken of each part right after it was written, while it is in the cache: nearly for nothing.
[[nodiscard]] std::uint64_t copy_shard(const TensorShard& shard, std::span<const std::byte> tensor, std::span<std::byte> destination);

/// xxh3-64 (seed 0).
[[nodiscard]] std::uint64_t digest_of(std::span<const std::byte> bytes);

}  // namespace ckpt
