#include "holder/model.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"

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

std::uint64_t count_in(const json& config, const char* key) {
  const auto found = config.find(key);
  return found != config.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}

Result<TpConfig> read_config(const std::string& path) {
  std::ifstream file(path);
  if (!file)
    return Status(StatusCode::not_found, Scope::operation, "{}: cannot be opened", path).advise("give the model's directory, with its config.json");
  const json document = json::parse(file, nullptr, false);
  if (!document.is_object()) return Status(StatusCode::data_corruption, Scope::operation, "{}: no JSON object", path);
  const auto text = document.find("text_config");  // of models that also see or hear
  const json& config = text != document.end() && text->is_object() ? *text : document;
  TpConfig out{count_in(config, "num_attention_heads"), count_in(config, "num_key_value_heads"), 0, 0};
  const json block = document.value(json::json_pointer("/quantization_config/weight_block_size"), json());
  if (block.is_array() && block.size() == 2 && block[0].is_number_unsigned() && block[1].is_number_unsigned()) {
    out.scale_block_rows = block[0];
    out.scale_block_columns = block[1];
  }
  return out;
}

}  // namespace

Result<HolderModel> load_model(const std::string& directory) {
  CKPT_ASSIGN_OR_RETURN(const Checkpoint checkpoint, open_checkpoint(directory));
  CKPT_RETURN_IF_ERROR(check_engines_take(checkpoint));
  CKPT_ASSIGN_OR_RETURN(const TpConfig config, read_config(directory + "/config.json"));
  return HolderModel{config, checkpoint.parameters};
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
