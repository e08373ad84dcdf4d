/// A directory whose `model.safetensors.index.json` says which shards belong to it.
#pragma once

#include <string>
#include <string_view>

#include "checkpoint/checkpoint.h"
#include "checkpoint/problems.h"

namespace ckpt {

inline constexpr std::string_view kIndexName = "model.safetensors.index.json";

/// Reads the index of `directory` (no slash at its end) and the shards that it names; both must tell the same. What could be read is returned.
[[nodiscard]] Checkpoint open_indexed(const std::string& directory, ProblemList& problems);

}  // namespace ckpt
