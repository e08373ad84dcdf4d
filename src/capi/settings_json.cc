#include "capi/settings_json.h"

#include <nlohmann/json.hpp>

namespace ckpt::capi {

Result<Settings> settings_from_json(const char* text) {
  CKPT_ASSIGN_OR_RETURN(Settings settings, Settings::from_environment());
  if (text == nullptr) return settings;
  const nlohmann::json object = nlohmann::json::parse(text, nullptr, false);
  if (!object.is_object()) return Status(StatusCode::invalid_argument, Scope::operation, "settings are no JSON object");
  for (const auto& [name, value] : object.items()) {
    if (value.is_null()) continue;
    if (!value.is_string() && !value.is_number_unsigned() && !value.is_boolean())
      return Status(StatusCode::invalid_argument, Scope::operation, "setting \"{}\" is to be a text, a whole number, or true or false", name);
    CKPT_RETURN_IF_ERROR(settings.set(name, value.is_string() ? value.get<std::string>() : value.dump(), name));
  }
  return settings;
}

}  // namespace ckpt::capi
