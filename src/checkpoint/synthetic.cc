#include "checkpoint/synthetic.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/bytes.h"
#include "checkpoint/synthetic_dimensions.h"

namespace ckpt {
namespace {

using Family = SyntheticFamily;

constexpr std::array<std::string_view, 6> kShapes{"qwen3-0.6b", "qwen3-moe", "deepseek-fp8", "tiny-qwen3", "tiny-qwen3-moe", "tiny-deepseek-fp8"};

// Parallel to kShapes. Published sizes of Qwen3-0.6B, Qwen3-30B-A3B and DeepSeek-V3; then small ones that still divide by 4 ranks, with fewer
// KV heads than that and vocabularies that are no multiple of 64.
const std::array<SyntheticDimensions, 6> kDimensions{{
    {.family = Family::qwen3, .hidden = 1024, .layers = 28, .vocab = 151936, .heads = 16, .kv_heads = 8, .head_dim = 128, .intermediate = 3072},
    {.family = Family::qwen3_moe,
     .hidden = 2048,
     .layers = 48,
     .vocab = 151936,
     .heads = 32,
     .kv_heads = 4,
     .head_dim = 128,
     .intermediate = 6144,
     .experts = 128,
     .experts_per_token = 8,
     .moe_intermediate = 768},
    {.family = Family::deepseek_v3,
     .hidden = 7168,
     .layers = 61,
     .vocab = 129280,
     .heads = 128,
     .kv_heads = 128,
     .intermediate = 18432,
     .dense_layers = 3,
     .experts = 256,
     .experts_per_token = 8,
     .moe_intermediate = 2048,
     .q_rank = 1536,
     .kv_rank = 512,
     .nope_dim = 128,
     .rope_dim = 64,
     .v_dim = 128},
    {.family = Family::qwen3, .hidden = 256, .layers = 2, .vocab = 1000, .heads = 8, .kv_heads = 2, .head_dim = 32, .intermediate = 512},
    {.family = Family::qwen3_moe,
     .hidden = 256,
     .layers = 2,
     .vocab = 1000,
     .heads = 8,
     .kv_heads = 2,
     .head_dim = 32,
     .intermediate = 512,
     .experts = 4,
     .experts_per_token = 2,
     .moe_intermediate = 128},
    {.family = Family::deepseek_v3,
     .hidden = 512,
     .layers = 2,
     .vocab = 1000,
     .heads = 8,
     .kv_heads = 8,
     .intermediate = 1024,
     .dense_layers = 1,
     .experts = 4,
     .experts_per_token = 2,
     .moe_intermediate = 512,
     .q_rank = 256,
     .kv_rank = 128,
     .nope_dim = 64,
     .rope_dim = 64,
     .v_dim = 64},
}};

constexpr std::uint64_t kSmallVocab = 16384;
constexpr std::uint64_t kLeastVocab = 1000;
constexpr std::uint64_t kFewExperts = 16;
constexpr std::uint64_t kLeastExperts = 4;

/// One cut more, what matters least first. False when nothing is left to cut.
bool cut(SyntheticDimensions& d) {
  const std::uint64_t kept_layers = d.dense_layers + 1;
  if (d.experts > kFewExperts)
    d.experts /= 2;
  else if (d.vocab > kSmallVocab)
    d.vocab /= 2;
  else if (d.layers > std::max<std::uint64_t>(kept_layers, 2))
    --d.layers;
  else if (d.experts > kLeastExperts)
    d.experts /= 2;
  else if (d.vocab / 2 >= kLeastVocab)
    d.vocab /= 2;
  else if (d.dense_layers > 0 && d.layers > 1)
    --d.dense_layers, --d.layers;
  else if (d.layers > 1)
    --d.layers;
  else
    return false;
  return true;
}

std::uint64_t total_bytes(const std::vector<Parameter>& parameters) {
  std::uint64_t total = 0;
  for (const Parameter& parameter : parameters) total += parameter.bytes;
  return total;
}

}  // namespace

std::span<const std::string_view> synthetic_shapes() { return kShapes; }

Result<SyntheticModel> make_synthetic_model(std::string_view shape, std::uint64_t max_bytes) {
  const auto found = std::find(kShapes.begin(), kShapes.end(), shape);
  if (found == kShapes.end())
    return Status(StatusCode::invalid_argument, Scope::operation, "there is no shape {}", shape)
        .advise(fmt::format("give one of {}", fmt::join(kShapes, ", ")));
  SyntheticDimensions dimensions = kDimensions[static_cast<std::size_t>(found - kShapes.begin())];
  std::vector<Parameter> parameters = synthetic_parameters(dimensions);
  while (total_bytes(parameters) > max_bytes) {
    if (!cut(dimensions))
      return Status(StatusCode::invalid_argument, Scope::operation, "{} needs at least {} bytes, {} were allowed", shape, total_bytes(parameters),
                    max_bytes);
    parameters = synthetic_parameters(dimensions);
  }
  return SyntheticModel{std::move(parameters), synthetic_config(dimensions)};
}

}  // namespace ckpt
