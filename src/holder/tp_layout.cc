#include "holder/tp_layout.h"

#include <string>
#include <string_view>
#include <unordered_map>

#include "base/bytes.h"
#include "base/check.h"

namespace ckpt {
namespace {

enum class Cut : std::uint8_t { rows, head_rows, kv_head_rows, vocabulary_rows, columns };

/// A tensor is `….module.leaf`; the rule of its module applies where its leaf is among the rule's. All other tensors stay whole: 1-D ones under
/// `columns`, dimensions of size 1, fused projections (qkv_proj, gate_up_proj, experts in one tensor), routers, norms.
struct Rule {
  std::string_view module;
  Cut cut;
};
constexpr Rule kRules[] = {
    {"q_proj", Cut::head_rows},  // attention; whole heads
    {"k_proj", Cut::kv_head_rows},
    {"v_proj", Cut::kv_head_rows},  //
    {"q_b_proj", Cut::head_rows},
    {"kv_b_proj", Cut::head_rows},  // DeepSeek's latent attention; q_a_proj and kv_a_proj_with_mqa stay whole
    {"o_proj", Cut::columns},       //
    {"gate_proj", Cut::rows},
    {"up_proj", Cut::rows},       // feed-forward, routed and shared experts alike
    {"down_proj", Cut::columns},  //
    {"embed_tokens", Cut::vocabulary_rows},
    {"lm_head", Cut::vocabulary_rows},
};
constexpr std::string_view kProjectionLeaves[] = {"weight", "bias", "weight_scale_inv", "weight_scale"};
constexpr std::string_view kScaleLeaves[] = {"weight_scale_inv", "weight_scale"};
constexpr std::uint64_t kVocabularyUnit = 64;  // engines pad the vocabulary to a multiple of it before they cut

struct Range {
  std::uint64_t begin;
  std::uint64_t end;
};

struct NameParts {
  std::string_view parent;  ///< "model.layers.0.mlp.up_proj"
  std::string_view module;  ///< "up_proj"
  std::string_view leaf;    ///< "weight"
};

NameParts split(std::string_view name) {
  const std::size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return {"", "", name};
  const std::string_view parent = name.substr(0, dot);
  const std::size_t before = parent.rfind('.');
  return {parent, before == std::string_view::npos ? parent : parent.substr(before + 1), name.substr(dot + 1)};
}

template <std::size_t N>
bool contains(const std::string_view (&list)[N], std::string_view text) {
  for (const std::string_view entry : list)
    if (entry == text) return true;
  return false;
}

const Rule* rule_of(const Parameter& parameter) {
  const NameParts parts = split(parameter.name);
  for (const Rule& rule : kRules) {
    if (rule.module != parts.module) continue;
    if (rule.cut == Cut::vocabulary_rows ? parts.leaf != "weight" : !contains(kProjectionLeaves, parts.leaf)) return nullptr;
    if (rule.cut == Cut::columns ? parameter.shape.size() != 2 : parameter.shape.empty()) return nullptr;
    return &rule;
  }
  return nullptr;
}

/// Cuts one model for one rank; keeps what several tensors need.
class Cutter {
 public:
  Cutter(std::span<const Parameter> parameters, const TpConfig& config, std::uint32_t tp, std::uint32_t rank)
      : config_(config), tp_(tp), rank_(rank) {
    for (const Parameter& parameter : parameters) by_name_.emplace(parameter.name, &parameter);
  }

  [[nodiscard]] Result<TensorShard> cut(const Parameter& parameter) const {
    const Rule* rule = tp_ == 1 ? nullptr : rule_of(parameter);
    if (rule == nullptr) return whole(parameter);
    const std::size_t dimension = rule->cut == Cut::columns ? 1 : 0;
    if (parameter.shape[dimension] == 1) return whole(parameter);
    CKPT_ASSIGN_OR_RETURN(const Range range, contains(kScaleLeaves, split(parameter.name).leaf) ? scale_range(parameter, rule->cut, dimension)
                                                                                                : range_of(parameter, rule->cut, dimension));
    return slice(parameter, dimension, range);
  }

 private:
  static TensorShard whole(const Parameter& parameter) { return {parameter.shape, 0, 1, parameter.bytes, parameter.bytes}; }

  static TensorShard slice(const Parameter& parameter, std::size_t dimension, Range range) {
    TensorShard shard{parameter.shape, 0, 1, 0, parameter.bytes};
    shard.shape[dimension] = range.end - range.begin;
    if (parameter.bytes == 0) return shard;
    const std::uint64_t row_bytes = parameter.bytes / parameter.shape[0];
    const std::uint64_t unit_bytes = dimension == 0 ? row_bytes : row_bytes / parameter.shape[1];
    shard.source_offset_bytes = range.begin * unit_bytes;
    shard.run_bytes = (range.end - range.begin) * unit_bytes;
    if (dimension == 1) {
      shard.num_runs = parameter.shape[0];
      shard.stride_bytes = row_bytes;
    }
    return shard;
  }

  [[nodiscard]] Status refused(const Parameter& parameter, std::string_view why) const {
    return Status(StatusCode::invalid_argument, Scope::operation, "tensor {} cannot be cut for tp {}: {}", parameter.name, tp_, why)
        .advise("choose another --tp");
  }

  [[nodiscard]] Range part(std::uint64_t extent) const { return {extent / tp_ * rank_, extent / tp_ * (rank_ + 1)}; }

  [[nodiscard]] Result<Range> range_of(const Parameter& parameter, Cut cut, std::size_t dimension) const {
    const std::uint64_t extent = parameter.shape[dimension];
    if (cut == Cut::vocabulary_rows) return vocabulary_range(parameter, extent);
    const std::uint64_t kv_heads = config_.num_key_value_heads != 0 ? config_.num_key_value_heads : config_.num_attention_heads;
    const std::uint64_t heads = cut == Cut::head_rows ? config_.num_attention_heads : cut == Cut::kv_head_rows ? kv_heads : 0;
    if (cut == Cut::kv_head_rows && heads == 0) return refused(parameter, "config.json names neither num_key_value_heads nor num_attention_heads");
    if (heads != 0 && extent % heads != 0) return refused(parameter, fmt::format("{} rows are not whole rows of {} heads", extent, heads));
    if (cut == Cut::kv_head_rows && heads < tp_) {
      const std::uint64_t head = rank_ * heads / tp_;
      return Range{extent / heads * head, extent / heads * (head + 1)};
    }
    if (heads != 0 && heads % tp_ != 0) return refused(parameter, fmt::format("{} heads do not divide", heads));
    if (extent % tp_ != 0) return refused(parameter, fmt::format("dimension {} of {} does not divide", dimension, extent));
    return part(extent);
  }

  [[nodiscard]] Result<Range> vocabulary_range(const Parameter& parameter, std::uint64_t rows) const {
    const std::uint64_t padded = round_up(rows, kVocabularyUnit);
    if (padded % tp_ != 0) return refused(parameter, fmt::format("{} rows, padded to {}, do not divide", rows, padded));
    const Range range = part(padded);
    return Range{std::min(range.begin, rows), std::min(range.end, rows)};
  }

  // Block scales are cut where their weight is cut, which must be between two blocks.
  [[nodiscard]] Result<Range> scale_range(const Parameter& scale, Cut cut, std::size_t dimension) const {
    const auto found = by_name_.find(std::string(split(scale.name).parent) + ".weight");
    if (found == by_name_.end() || found->second->shape.size() <= dimension) return range_of(scale, cut, dimension);
    const Parameter& weight = *found->second;
    CKPT_ASSIGN_OR_RETURN(const Range range, range_of(weight, cut, dimension));
    const std::uint64_t extent = weight.shape[dimension];
    const std::uint64_t blocks = scale.shape[dimension];
    std::uint64_t block = dimension == 0 ? config_.scale_block_rows : config_.scale_block_columns;
    if (block == 0 || (extent + block - 1) / block != blocks) {
      if (blocks == 0 || extent % blocks != 0)
        return refused(scale,
                       fmt::format("{} scales fit neither config.json's block nor the {} of its weight's dimension {}", blocks, extent, dimension));
      block = extent / blocks;
    }
    if (range.begin % block != 0 || (range.end % block != 0 && range.end != extent))
      return refused(scale, fmt::format("the weight's cut at {} would lie inside a scale block of {}",
                                        range.begin % block != 0 ? range.begin : range.end, block));
    return Range{range.begin / block, (range.end + block - 1) / block};
  }

  const TpConfig& config_;
  const std::uint32_t tp_;
  const std::uint32_t rank_;
  std::unordered_map<std::string_view, const Parameter*> by_name_;
};

}  // namespace

Result<std::vector<TensorShard>> make_tp_layout(std::span<const Parameter> parameters, const TpConfig& config, std::uint32_t tp, std::uint32_t rank) {
  CKPT_CHECK(tp > 0 && rank < tp);
  const Cutter cutter(parameters, config, tp, rank);
  std::vector<TensorShard> shards;
  shards.reserve(parameters.size());
  for (const Parameter& parameter : parameters) {
    CKPT_ASSIGN_OR_RETURN(TensorShard shard, cutter.cut(parameter));
    shards.push_back(std::move(shard));
  }
  return shards;
}

}  // namespace ckpt
