/// The header of one safetensors file: 8 bytes of length, then JSON. https://github.com/huggingface/safetensors#format
///
///   |u64 LE: n|n bytes of JSON: {"name": {"dtype","shape","data_offsets"}, …, "__metadata__": {…}}|data…|
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/problems.h"
#include "ckpt/result.h"
#include "manifest/parameter.h"

namespace ckpt {

/// Longest header that the official reader takes.
inline constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;

struct SafetensorsEntry {
  Parameter parameter;
  std::uint64_t offset_bytes;  ///< from the start of the data
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  ///< by offset, then by name
  std::map<std::string, std::string> metadata;
};

/// Parses the JSON part and adds what is wrong to `problems`; goes on with the next tensor until that is full. What could be read is returned.
[[nodiscard]] SafetensorsHeader parse_safetensors_header(std::string_view json, std::uint64_t data_bytes, ProblemList& problems);

/// The same, ending at the first problem. `data_bytes`: what follows the header in the file; the tensors must cover it without hole or overlap.
/// Pure. data_corruption names the tensor and the reason.
[[nodiscard]] Result<SafetensorsHeader> parse_safetensors_header(std::string_view json, std::uint64_t data_bytes);

}  // namespace ckpt
