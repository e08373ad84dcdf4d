/// `model.safetensors.index.json`: which shard holds which tensor.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "ckpt/result.h"

namespace ckpt {

/// Tensor name → file name inside the directory. Pure. data_corruption: no object, no weight_map, wrong types, a key twice;
/// invalid_argument: a file name that leaves the directory.
[[nodiscard]] Result<std::map<std::string, std::string>> parse_hf_index(std::string_view json);

}  // namespace ckpt
