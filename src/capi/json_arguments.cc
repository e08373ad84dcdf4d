#include "capi/json_arguments.h"

#include <algorithm>

namespace ckpt::capi {
namespace {

bool is_count(const nlohmann::json& json) { return json.is_number_unsigned() && json.get<std::uint64_t>() <= UINT32_MAX; }

}  // namespace

Result<JsonArguments> JsonArguments::parse(const char* text, std::string_view what, std::initializer_list<std::string_view> known) {
  if (text == nullptr) return JsonArguments(nlohmann::json::object(), what);
  nlohmann::json object = nlohmann::json::parse(text, nullptr, false);
  if (!object.is_object()) return Status(StatusCode::invalid_argument, Scope::operation, "{} is no JSON object", what);
  for (const auto& [name, value] : object.items())
    if (std::find(known.begin(), known.end(), name) == known.end())
      return Status(StatusCode::invalid_argument, Scope::operation, "{} knows no \"{}\"", what, name);
  return JsonArguments(std::move(object), what);
}

const nlohmann::json* JsonArguments::find(std::string_view name, bool (*fits)(const nlohmann::json&), std::string_view type) {
  const auto found = object_.find(name);
  if (found == object_.end() || found->is_null()) return nullptr;
  if (fits(*found)) return &*found;
  if (status_.ok()) status_ = Status(StatusCode::invalid_argument, Scope::operation, "\"{}\" of {} is to be {}", name, what_, type);
  return nullptr;
}

std::string JsonArguments::text(std::string_view name, std::string fallback) {
  const nlohmann::json* value = find(name, [](const nlohmann::json& json) { return json.is_string(); }, "a text");
  return value != nullptr ? value->get<std::string>() : std::move(fallback);
}

bool JsonArguments::flag(std::string_view name, bool fallback) {
  const nlohmann::json* value = find(name, [](const nlohmann::json& json) { return json.is_boolean(); }, "true or false");
  return value != nullptr ? value->get<bool>() : fallback;
}

std::uint32_t JsonArguments::count(std::string_view name, std::uint32_t fallback) {
  const nlohmann::json* value = find(name, is_count, "a whole number from 0");
  return value != nullptr ? value->get<std::uint32_t>() : fallback;
}

std::vector<std::string> JsonArguments::texts(std::string_view name) {
  const auto all_texts = [](const nlohmann::json& json) {
    return json.is_array() && std::all_of(json.begin(), json.end(), [](const nlohmann::json& one) { return one.is_string(); });
  };
  const nlohmann::json* value = find(name, all_texts, "a list of texts");
  return value != nullptr ? value->get<std::vector<std::string>>() : std::vector<std::string>();
}

std::vector<std::uint32_t> JsonArguments::counts(std::string_view name) {
  const auto all_counts = [](const nlohmann::json& json) { return json.is_array() && std::all_of(json.begin(), json.end(), is_count); };
  const nlohmann::json* value = find(name, all_counts, "a list of whole numbers from 0");
  return value != nullptr ? value->get<std::vector<std::uint32_t>>() : std::vector<std::uint32_t>();
}

}  // namespace ckpt::capi
