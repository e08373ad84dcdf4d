/// What config.json says about a model's layout. Strict: a field of the wrong type is an error, a field that is not there or null is left at 0.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "ckpt/result.h"

namespace ckpt {

/// Fields as Hugging Face names them. 0 or empty: not given.
struct ModelConfig {
  std::string model_type;
  std::uint64_t hidden_size = 0;
  std::uint64_t num_hidden_layers = 0;
  std::uint64_t num_attention_heads = 0;
  std::uint64_t num_key_value_heads = 0;
  std::uint64_t head_dim = 0;
  std::uint64_t vocab_size = 0;
  bool tie_word_embeddings = false;
  std::uint64_t weight_block_rows = 0;  ///< quantization_config.weight_block_size: elements that share one scale
  std::uint64_t weight_block_columns = 0;

  friend bool operator==(const ModelConfig&, const ModelConfig&) = default;
};

/// Of models that also see or hear, `text_config` counts, then the outer object. Pure. data_corruption: no JSON object, a wrong type, a field
/// twice; the text names the field.
[[nodiscard]] Result<ModelConfig> parse_model_config(std::string_view json);

/// The same for `directory`/config.json (at most 16 MB). Errors name the file; not_found when it is not there.
[[nodiscard]] Result<ModelConfig> read_model_config(const std::string& directory);

}  // namespace ckpt
