#include "holder/model.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "checkpoint/config.h"

namespace ckpt {
namespace {

using nlohmann::json;

Result<HolderModel> decode(const json& document) {
  HolderModel model;
  const json& config = document.at("config");
  model.config = {config.at(0), config.at(1), config.at(2), config.at(3)};
  for (const json& row : document.at("parameters")) {
    const auto dtype = dtype_from_name(row.at(1).get<std::string>());
    if (!dtype) return Status(StatusCode::internal, Scope::process, "the model handed over has a tensor of an unknown dtype");
    Parameter parameter{row.at(0), *dtype, row.at(2), row.at(3)};
    model.parameters.push_back(std::move(parameter));
  }
  return model;
}

}  // namespace

Result<HolderModel> load_model(const std::string& directory) {
  CKPT_ASSIGN_OR_RETURN(const Checkpoint checkpoint, open_checkpoint(directory));
  CKPT_RETURN_IF_ERROR(check_engines_take(checkpoint));
  const Result<ModelConfig> config = read_model_config(directory);
  if (!config.ok()) return config.status().advise("give the model's directory, with its config.json");
  return HolderModel{{config->num_attention_heads, config->num_key_value_heads, config->weight_block_rows, config->weight_block_columns},
                     checkpoint.parameters};
}

Bytes encode_model(const HolderModel& model) {
  json parameters = json::array();
  for (const Parameter& parameter : model.parameters) parameters.push_back({parameter.name, name(parameter.dtype), parameter.shape, parameter.bytes});
  const TpConfig& config = model.config;
  const json document{{"config", {config.num_attention_heads, config.num_key_value_heads, config.scale_block_rows, config.scale_block_columns}},
                      {"parameters", std::move(parameters)}};
  const std::vector<std::uint8_t> encoded = json::to_msgpack(document);
  Bytes bytes(encoded.size());
  std::transform(encoded.begin(), encoded.end(), bytes.begin(), [](std::uint8_t b) { return std::byte{b}; });
  return bytes;
}

Result<HolderModel> decode_model(const Bytes& encoded) {
  try {
    const auto* begin = reinterpret_cast<const std::uint8_t*>(encoded.data());
    return decode(json::from_msgpack(begin, begin + encoded.size()));
  } catch (const json::exception& error) {
    return Status(StatusCode::internal, Scope::process, "the model handed over cannot be read: {}", error.what());
  }
}

}  // namespace ckpt
