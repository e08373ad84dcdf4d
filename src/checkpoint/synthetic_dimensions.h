/// Sizes of a made-up model, and what follows from them. Internal to synthetic.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "manifest/parameter.h"

namespace ckpt {

enum class SyntheticFamily : std::uint8_t { qwen3, qwen3_moe, deepseek_v3 };

struct SyntheticDimensions {
  SyntheticFamily family = SyntheticFamily::qwen3;
  std::uint64_t hidden = 0;
  std::uint64_t layers = 0;
  std::uint64_t vocab = 0;
  std::uint64_t heads = 0;
  std::uint64_t kv_heads = 0;
  std::uint64_t head_dim = 0;      ///< of Qwen3
  std::uint64_t intermediate = 0;  ///< of a dense MLP
  std::uint64_t dense_layers = 0;  ///< of DeepSeek: layers before the first with experts
  std::uint64_t experts = 0;
  std::uint64_t experts_per_token = 0;
  std::uint64_t moe_intermediate = 0;
  std::uint64_t q_rank = 0;  ///< of DeepSeek's latent attention, as the four that follow
  std::uint64_t kv_rank = 0;
  std::uint64_t nope_dim = 0;
  std::uint64_t rope_dim = 0;
  std::uint64_t v_dim = 0;
};

[[nodiscard]] std::vector<Parameter> synthetic_parameters(const SyntheticDimensions& dimensions);
/// A config.json as Hugging Face has it for this family.
[[nodiscard]] std::string synthetic_config(const SyntheticDimensions& dimensions);

}  // namespace ckpt
