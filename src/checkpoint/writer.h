/// Writes Hugging Face checkpoint directories with made-up content: input for the demo, tests and benchmarks.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "ckpt/result.h"
#include "manifest/parameter.h"

namespace ckpt {

struct WriteOptions {
  std::uint64_t seed = 0;
  std::uint32_t num_shards = 1;  ///< 1: `model.safetensors`; more: `model-00001-of-0000N.safetensors` and the index
  std::map<std::string, std::string> metadata{{"format", "pt"}};
};

/// `{"name":{…},…}` with its 8 bytes of length before it and spaces behind it, so that the data starts at a multiple of 8. Tensors in the order
/// given. invalid_argument: a name that is not UTF-8.
[[nodiscard]] Result<std::string> safetensors_head(std::span<const Parameter> parameters, const std::map<std::string, std::string>& metadata);

/// One safetensors file, with content of `options.seed` (see content.h), streamed. It appears whole or not at all.
[[nodiscard]] Status write_safetensors_file(const std::string& path, std::span<const Parameter> parameters, const WriteOptions& options);

/// `directory` (made if it is not there) with one file, or shards of about equal size and their index. Within a file wide dtypes come first, then
/// names, as the official writer does. Files of the same names are replaced; already_exists when others of a checkpoint are there, since readers
/// would mix them. Returns the names written.
[[nodiscard]] Result<std::vector<std::string>> write_checkpoint(const std::string& directory, std::span<const Parameter> parameters,
                                                                const WriteOptions& options);

}  // namespace ckpt
