/// Whether the weights fit into the memory that this process tree may still take: asked once, at start.
#pragma once

#include <cstdint>

#include "ckpt/status.h"
#include "os/limits.h"

namespace ckpt {

/// The tighter of what the limits leave and what the kernel has (MemAvailable).
[[nodiscard]] MemoryBound memory_room();

/// ok when the copies fit; else resource_exhausted with the missing bytes, and whether giving up the second copy would do.
[[nodiscard]] Status check_room_for_weights(std::uint64_t one_copy_bytes, bool in_place, const MemoryBound& room);

}  // namespace ckpt
