/// Memory of one version of one worker's weights: a memfd that the front creates and keeps open, so that it outlives a killed worker.
#pragma once

#include "ckpt/result.h"
#include "os/shared_memory.h"

namespace ckpt {

/// Maps all of an arena's memory. data_corruption when `fd` is not `bytes` long: the front and the worker disagree about the layout.
[[nodiscard]] Result<Mapping> map_arena(int fd, std::uint64_t bytes);

/// Takes all pages now, leaving their content: afterwards an update needs no new memory. resource_exhausted.
[[nodiscard]] Status take_memory(const Mapping& arena, unsigned threads);

}  // namespace ckpt
