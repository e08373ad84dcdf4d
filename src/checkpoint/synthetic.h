/// Parameter lists and config.json of well-known model families, cut to a size: what real checkpoints look like, without downloading one.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ckpt/result.h"
#include "manifest/parameter.h"

namespace ckpt {

struct SyntheticModel {
  std::vector<Parameter> parameters;
  std::string config_json;
};

/// The names that make_synthetic_model takes: qwen3-0.6b (tied embeddings), qwen3-moe (Qwen3-30B-A3B), deepseek-fp8 (DeepSeek-V3, block scales),
/// and tiny- variants of a few MB whose sizes are all small.
[[nodiscard]] std::span<const std::string_view> synthetic_shapes();

/// `shape` with vocabulary, experts and layers cut until it has at most `max_bytes`; hidden sizes, dtypes and names stay those of the model.
/// invalid_argument: an unknown shape, or less room than its smallest cut needs (says how much).
[[nodiscard]] Result<SyntheticModel> make_synthetic_model(std::string_view shape, std::uint64_t max_bytes);

}  // namespace ckpt
