/// A JSON object as arguments: each known by name, each of one type, nothing else.
#pragma once

#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "ckpt/result.h"

namespace ckpt::capi {

/// Reads one argument after the other; the first that does not fit is the status.
class JsonArguments {
 public:
  /// `text` may be null: no arguments. `what` ("target") stands in the errors. invalid_argument: no JSON object, or a name that is not in `known`.
  [[nodiscard]] static Result<JsonArguments> parse(const char* text, std::string_view what, std::initializer_list<std::string_view> known);

  [[nodiscard]] bool has(std::string_view name) const { return object_.contains(name); }
  /// The value, or `fallback` where it is not there or does not fit.
  [[nodiscard]] std::string text(std::string_view name, std::string fallback = {});
  [[nodiscard]] bool flag(std::string_view name, bool fallback);
  [[nodiscard]] std::uint32_t count(std::string_view name, std::uint32_t fallback);
  [[nodiscard]] std::vector<std::string> texts(std::string_view name);
  [[nodiscard]] std::vector<std::uint32_t> counts(std::string_view name);
  /// invalid_argument of the first argument so far that did not fit.
  [[nodiscard]] const Status& status() const { return status_; }

 private:
  JsonArguments(nlohmann::json object, std::string_view what) : object_(std::move(object)), what_(what) {}
  [[nodiscard]] const nlohmann::json* find(std::string_view name, bool (*fits)(const nlohmann::json&), std::string_view type);

  nlohmann::json object_;
  std::string what_;
  Status status_;
};

}  // namespace ckpt::capi
