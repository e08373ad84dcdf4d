#include "checkpoint/config.h"

#include <simdjson.h>

#include <unordered_set>

#include "base/bytes.h"
#include "checkpoint/printable.h"
#include "checkpoint/problems.h"
#include "os/file.h"

namespace ckpt {
namespace {

namespace dom = simdjson::dom;

constexpr std::uint64_t kMaxConfigBytes = 16'000'000;

Status refuse_twins(dom::object object) {
  std::unordered_set<std::string_view> names;
  for (const auto [key, value] : object)
    if (!names.insert(key).second) return corrupt(fmt::format("{} stands twice", printable(key)));
  return Status::success();
}

/// The objects that may give a field, the one that counts first.
struct Places {
  dom::object inner;
  dom::object outer;

  /// False: not there, or null.
  bool find(std::string_view key, dom::element& value) const {
    for (const dom::object& object : {inner, outer})
      if (!object.at_key(key).get(value) && !value.is_null()) return true;
    return false;
  }
};

Status read_count(const Places& places, std::string_view key, std::uint64_t& count) {
  dom::element value;
  if (!places.find(key, value)) return Status::success();
  if (value.get_uint64().get(count)) return corrupt(fmt::format("{} is no whole number from 0", key));
  return Status::success();
}

Status read_block(const Places& places, ModelConfig& config) {
  dom::element value;
  if (!places.find("quantization_config", value)) return Status::success();
  dom::object quantization;
  if (value.get_object().get(quantization)) return corrupt("quantization_config is no object");
  if (quantization.at_key("weight_block_size").get(value) || value.is_null()) return Status::success();
  dom::array block;
  std::uint64_t sizes[2] = {};
  if (value.get_array().get(block) || block.size() != 2 || block.at(0).get_uint64().get(sizes[0]) || block.at(1).get_uint64().get(sizes[1]) ||
      sizes[0] == 0 || sizes[1] == 0)
    return corrupt("quantization_config.weight_block_size is no pair of whole numbers from 1");
  config.weight_block_rows = sizes[0];
  config.weight_block_columns = sizes[1];
  return Status::success();
}

Status read_other(const Places& places, ModelConfig& config) {
  dom::element value;
  if (places.find("tie_word_embeddings", value) && value.get_bool().get(config.tie_word_embeddings))
    return corrupt("tie_word_embeddings is neither true nor false");
  std::string_view text;
  if (places.find("model_type", value)) {
    if (value.get_string().get(text)) return corrupt("model_type is no text");
    config.model_type = text;
  }
  return Status::success();
}

}  // namespace

Result<ModelConfig> parse_model_config(std::string_view json) {
  dom::parser parser(kMaxConfigBytes);
  Places places;
  if (const auto error = parser.parse(json.data(), json.size()).get_object().get(places.outer))
    return corrupt(fmt::format("it is no JSON object: {}", simdjson::error_message(error)));
  CKPT_RETURN_IF_ERROR(refuse_twins(places.outer));
  if (places.outer.at_key("text_config").get_object().get(places.inner)) places.inner = places.outer;
  CKPT_RETURN_IF_ERROR(refuse_twins(places.inner));
  ModelConfig config;
  CKPT_RETURN_IF_ERROR(read_count(places, "hidden_size", config.hidden_size));
  CKPT_RETURN_IF_ERROR(read_count(places, "num_hidden_layers", config.num_hidden_layers));
  CKPT_RETURN_IF_ERROR(read_count(places, "num_attention_heads", config.num_attention_heads));
  CKPT_RETURN_IF_ERROR(read_count(places, "num_key_value_heads", config.num_key_value_heads));
  CKPT_RETURN_IF_ERROR(read_count(places, "head_dim", config.head_dim));
  CKPT_RETURN_IF_ERROR(read_count(places, "vocab_size", config.vocab_size));
  CKPT_RETURN_IF_ERROR(read_block(places, config));
  CKPT_RETURN_IF_ERROR(read_other(places, config));
  return config;
}

Result<ModelConfig> read_model_config(const std::string& directory) {
  const std::string path = directory + "/config.json";
  CKPT_ASSIGN_OR_RETURN(const File file, File::open_for_reading(path));
  if (file.bytes() > kMaxConfigBytes)
    return Status(StatusCode::resource_exhausted, Scope::operation, "{}: {} bytes are more than {}", path, file.bytes(), kMaxConfigBytes);
  Bytes text(file.bytes());
  CKPT_RETURN_IF_ERROR(file.read_all(0, text));
  Result<ModelConfig> config = parse_model_config(as_text(text));
  if (!config.ok()) return config.status().with_note("{}", path);
  return config;
}

}  // namespace ckpt
