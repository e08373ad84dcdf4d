#include <algorithm>
#include <nlohmann/json.hpp>

#include "checkpoint/synthetic_dimensions.h"

namespace ckpt {
namespace {

using json = nlohmann::ordered_json;

void add_qwen3(json& config, const SyntheticDimensions& d) {
  config["head_dim"] = d.head_dim;
  config["model_type"] = d.family == SyntheticFamily::qwen3 ? "qwen3" : "qwen3_moe";
  config["architectures"] = {d.family == SyntheticFamily::qwen3 ? "Qwen3ForCausalLM" : "Qwen3MoeForCausalLM"};
  if (d.family == SyntheticFamily::qwen3) return;
  config["moe_intermediate_size"] = d.moe_intermediate;
  config["num_experts"] = d.experts;
  config["num_experts_per_tok"] = std::min(d.experts, d.experts_per_token);
  config["decoder_sparse_step"] = 1;
  config["mlp_only_layers"] = json::array();
}

void add_deepseek(json& config, const SyntheticDimensions& d) {
  config["model_type"] = "deepseek_v3";
  config["architectures"] = {"DeepseekV3ForCausalLM"};
  config["first_k_dense_replace"] = d.dense_layers;
  config["n_routed_experts"] = d.experts;
  config["n_shared_experts"] = 1;
  config["num_experts_per_tok"] = std::min(d.experts, d.experts_per_token);
  config["moe_intermediate_size"] = d.moe_intermediate;
  config["q_lora_rank"] = d.q_rank;
  config["kv_lora_rank"] = d.kv_rank;
  config["qk_nope_head_dim"] = d.nope_dim;
  config["qk_rope_head_dim"] = d.rope_dim;
  config["v_head_dim"] = d.v_dim;
  config["quantization_config"] = {{"activation_scheme", "dynamic"}, {"fmt", "e4m3"}, {"quant_method", "fp8"}, {"weight_block_size", {128, 128}}};
}

}  // namespace

std::string synthetic_config(const SyntheticDimensions& d) {
  json config{{"hidden_size", d.hidden},
              {"intermediate_size", d.intermediate},
              {"num_hidden_layers", d.layers},
              {"num_attention_heads", d.heads},
              {"num_key_value_heads", d.kv_heads},
              {"vocab_size", d.vocab},
              {"rms_norm_eps", 1e-6},
              {"hidden_act", "silu"},
              {"tie_word_embeddings", d.family == SyntheticFamily::qwen3},
              {"torch_dtype", "bfloat16"}};
  if (d.family == SyntheticFamily::deepseek_v3)
    add_deepseek(config, d);
  else
    add_qwen3(config, d);
  return config.dump(2) + "\n";
}

}  // namespace ckpt
