#include "checkpoint/hf_index.h"

#include <simdjson.h>

#include <utility>

#include "checkpoint/printable.h"
#include "checkpoint/problems.h"

namespace ckpt {
namespace {

namespace dom = simdjson::dom;

/// A shard is a plain name, or a path below the directory that never climbs.
bool stays_inside(std::string_view path) {
  if (path.empty() || path.front() == '/' || path.find('\0') != std::string_view::npos) return false;
  while (!path.empty()) {
    const std::size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (part.empty() || part == "." || part == "..") return false;
    path = slash == std::string_view::npos ? std::string_view{} : path.substr(slash + 1);
    if (slash != std::string_view::npos && path.empty()) return false;
  }
  return true;
}

Status read_weight_map(dom::element value, std::map<std::string, std::string>& map) {
  dom::object weights;
  if (value.get_object().get(weights)) return corrupt("weight_map is no object");
  for (const auto [name, content] : weights) {
    std::string_view file;
    if (content.get_string().get(file)) return corrupt(fmt::format("the file of tensor {} is no text", printable(name)));
    if (!stays_inside(file))
      return {StatusCode::invalid_argument, Scope::operation, "tensor {}: its file \"{}\" lies outside the directory", printable(name),
              printable(file)};
    if (!map.emplace(name, file).second) return corrupt(fmt::format("tensor {} stands twice", printable(name)));
  }
  return Status::success();
}

}  // namespace

Result<std::map<std::string, std::string>> parse_hf_index(std::string_view json) {
  dom::parser parser;
  dom::element document;
  if (const auto error = parser.parse(json.data(), json.size()).get(document))
    return corrupt(fmt::format("it is no valid JSON: {}", simdjson::error_message(error)));
  dom::object object;
  if (document.get_object().get(object)) return corrupt("it is no JSON object");
  std::map<std::string, std::string> map;
  bool found = false;
  for (const auto [key, value] : object) {
    if (key != "weight_map") continue;
    if (std::exchange(found, true)) return corrupt("weight_map stands twice");
    CKPT_RETURN_IF_ERROR(read_weight_map(value, map));
  }
  if (!found) return corrupt("it has no weight_map");
  return map;
}

}  // namespace ckpt
