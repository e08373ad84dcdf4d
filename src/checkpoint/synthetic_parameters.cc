// Names, dtypes and shapes of the tensors, as the published checkpoints of each family have them.
#include "base/check.h"
#include "checkpoint/synthetic_dimensions.h"

namespace ckpt {
namespace {

constexpr std::uint64_t kScaleBlock = 128;

/// Collects parameters under prefixes.
class ParameterList {
 public:
  explicit ParameterList(const SyntheticDimensions& dimensions) : d_(dimensions) {}

  void add(const std::string& name, DType dtype, std::vector<std::uint64_t> shape) {
    const auto bytes = tensor_bytes(dtype, shape);
    CKPT_CHECK(bytes.has_value());
    list_.push_back({name, dtype, std::move(shape), *bytes});
  }
  void norm(const std::string& name, std::uint64_t size) { add(name + ".weight", DType::BF16, {size}); }
  /// A projection: BF16, or FP8 with one F32 scale for each block of 128 × 128.
  void linear(const std::string& name, std::uint64_t rows, std::uint64_t columns) {
    const bool fp8 = d_.family == SyntheticFamily::deepseek_v3;
    add(name + ".weight", fp8 ? DType::F8_E4M3 : DType::BF16, {rows, columns});
    if (fp8) add(name + ".weight_scale_inv", DType::F32, {(rows + kScaleBlock - 1) / kScaleBlock, (columns + kScaleBlock - 1) / kScaleBlock});
  }
  void mlp(const std::string& prefix, std::uint64_t intermediate) {
    linear(prefix + ".gate_proj", intermediate, d_.hidden);
    linear(prefix + ".up_proj", intermediate, d_.hidden);
    linear(prefix + ".down_proj", d_.hidden, intermediate);
  }
  void experts(const std::string& prefix) {
    add(prefix + ".gate.weight", DType::BF16, {d_.experts, d_.hidden});
    for (std::uint64_t i = 0; i < d_.experts; ++i) mlp(prefix + ".experts." + std::to_string(i), d_.moe_intermediate);
  }
  void grouped_attention(const std::string& prefix) {
    linear(prefix + ".q_proj", d_.heads * d_.head_dim, d_.hidden);
    linear(prefix + ".k_proj", d_.kv_heads * d_.head_dim, d_.hidden);
    linear(prefix + ".v_proj", d_.kv_heads * d_.head_dim, d_.hidden);
    linear(prefix + ".o_proj", d_.hidden, d_.heads * d_.head_dim);
    norm(prefix + ".q_norm", d_.head_dim);
    norm(prefix + ".k_norm", d_.head_dim);
  }
  void latent_attention(const std::string& prefix) {
    linear(prefix + ".q_a_proj", d_.q_rank, d_.hidden);
    norm(prefix + ".q_a_layernorm", d_.q_rank);
    linear(prefix + ".q_b_proj", d_.heads * (d_.nope_dim + d_.rope_dim), d_.q_rank);
    linear(prefix + ".kv_a_proj_with_mqa", d_.kv_rank + d_.rope_dim, d_.hidden);
    norm(prefix + ".kv_a_layernorm", d_.kv_rank);
    linear(prefix + ".kv_b_proj", d_.heads * (d_.nope_dim + d_.v_dim), d_.kv_rank);
    linear(prefix + ".o_proj", d_.hidden, d_.heads * d_.v_dim);
  }
  void layer(std::uint64_t index) {
    const std::string prefix = "model.layers." + std::to_string(index);
    const std::string mlp_prefix = prefix + ".mlp";
    norm(prefix + ".input_layernorm", d_.hidden);
    if (d_.family == SyntheticFamily::deepseek_v3)
      latent_attention(prefix + ".self_attn");
    else
      grouped_attention(prefix + ".self_attn");
    norm(prefix + ".post_attention_layernorm", d_.hidden);
    if (d_.family == SyntheticFamily::qwen3 || (d_.family == SyntheticFamily::deepseek_v3 && index < d_.dense_layers))
      return mlp(mlp_prefix, d_.intermediate);
    experts(mlp_prefix);
    if (d_.family != SyntheticFamily::deepseek_v3) return;
    add(mlp_prefix + ".gate.e_score_correction_bias", DType::F32, {d_.experts});
    mlp(mlp_prefix + ".shared_experts", d_.moe_intermediate);
  }
  [[nodiscard]] std::vector<Parameter> take() { return std::move(list_); }

 private:
  const SyntheticDimensions& d_;
  std::vector<Parameter> list_;
};

}  // namespace

std::vector<Parameter> synthetic_parameters(const SyntheticDimensions& dimensions) {
  ParameterList list(dimensions);
  list.add("model.embed_tokens.weight", DType::BF16, {dimensions.vocab, dimensions.hidden});
  for (std::uint64_t i = 0; i < dimensions.layers; ++i) list.layer(i);
  list.norm("model.norm", dimensions.hidden);
  if (dimensions.family != SyntheticFamily::qwen3)  // the small Qwen3 ties it to the embedding
    list.add("lm_head.weight", DType::BF16, {dimensions.vocab, dimensions.hidden});
  return list.take();
}

}  // namespace ckpt
