#include "cli/inspection.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/bytes.h"
#include "checkpoint/printable.h"

namespace ckpt {
namespace {

using json = nlohmann::ordered_json;

std::string shape_text(const std::vector<std::uint64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }
std::string file_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

std::string tensor_table(const Inspection& inspection) {
  const Checkpoint& checkpoint = inspection.survey.checkpoint;
  std::size_t width = 4;
  for (const Parameter& parameter : checkpoint.parameters) width = std::max(width, std::min<std::size_t>(printable(parameter.name).size(), 80));
  std::string text = fmt::format("\n{:{}}  {:11}  {:>18}  {:>14}  {:>14}  {}{}\n", "name", width, "dtype", "shape", "bytes", "offset",
                                 inspection.digests.empty() ? "" : "xxh3              ", "file");
  for (std::size_t i = 0; i < checkpoint.parameters.size(); ++i) {
    const Parameter& parameter = checkpoint.parameters[i];
    const TensorLocation& location = checkpoint.locations[i];
    text += fmt::format("{:{}}  {:11}  {:>18}  {:>14}  {:>14}  {}{}\n", printable(parameter.name), width, name(parameter.dtype),
                        shape_text(parameter.shape), parameter.bytes, location.offset_bytes,
                        inspection.digests.empty() ? "" : fmt::format("{:016x}  ", inspection.digests[i]),
                        file_name(checkpoint.files[location.file].path));
  }
  return text;
}

std::string metadata_text(const Checkpoint& checkpoint) {
  std::set<std::string> lines;  // shards usually say the same
  for (const CheckpointFile& file : checkpoint.files)
    for (const auto& [key, value] : file.metadata) lines.insert(fmt::format("{} = {}", printable(key), printable(value)));
  std::string text;
  for (const std::string& line : lines) text += fmt::format("{:10} {}\n", text.empty() ? "metadata" : "", line);
  return text;
}

json tensor_json(const Inspection& inspection, std::size_t i) {
  const Checkpoint& checkpoint = inspection.survey.checkpoint;
  const Parameter& parameter = checkpoint.parameters[i];
  json row{{"name", parameter.name},   {"dtype", name(parameter.dtype)},       {"shape", parameter.shape},
           {"bytes", parameter.bytes}, {"file", checkpoint.locations[i].file}, {"offset", checkpoint.locations[i].offset_bytes}};
  if (!inspection.digests.empty()) row["xxh3"] = fmt::format("{:016x}", inspection.digests[i]);
  return row;
}

json problems_json(const std::vector<Status>& problems) {
  json list = json::array();
  for (const Status& problem : problems) list.push_back({{"code", name(problem.code())}, {"error", problem.to_string()}});
  return list;
}

}  // namespace

std::map<DType, DtypeTotals> Inspection::totals() const {
  std::map<DType, DtypeTotals> totals;
  for (const Parameter& parameter : survey.checkpoint.parameters) {
    ++totals[parameter.dtype].num_tensors;
    totals[parameter.dtype].bytes += parameter.bytes;
  }
  return totals;
}

std::string inspection_text(const Inspection& inspection) {
  const Checkpoint& checkpoint = inspection.survey.checkpoint;
  std::string text =
      fmt::format("{:10} {}\n{:10} {}\n{:10} {}\n{:10} {} ({} bytes)\n", "checkpoint", inspection.path, "files", checkpoint.files.size(), "tensors",
                  checkpoint.parameters.size(), "size", format_bytes(checkpoint.total_bytes()), checkpoint.total_bytes());
  std::string_view label = "dtypes";
  for (const auto& [dtype, total] : inspection.totals()) {
    text += fmt::format("{:10} {:11} {:>8} tensors  {:>10}{}\n", label, name(dtype), total.num_tensors, format_bytes(total.bytes),
                        engines_take(dtype) ? "" : "  engines cannot take it: `update` refuses this checkpoint");
    label = "";
  }
  text += metadata_text(checkpoint);
  if (inspection.list_tensors) text += tensor_table(inspection);
  return text;
}

std::string inspection_json(const Inspection& inspection) {
  const Checkpoint& checkpoint = inspection.survey.checkpoint;
  json files = json::array();
  for (const CheckpointFile& file : checkpoint.files) files.push_back({{"path", file.path}, {"bytes", file.bytes}, {"metadata", file.metadata}});
  json dtypes = json::object();
  for (const auto& [dtype, total] : inspection.totals())
    dtypes[std::string(name(dtype))] = {{"tensors", total.num_tensors}, {"bytes", total.bytes}, {"engines_take", engines_take(dtype)}};
  json document{{"path", inspection.path},           {"ok", inspection.survey.problems.empty()},
                {"files", std::move(files)},         {"num_tensors", checkpoint.parameters.size()},
                {"bytes", checkpoint.total_bytes()}, {"engines_take", check_engines_take(checkpoint).ok()},
                {"dtypes", std::move(dtypes)},       {"problems", problems_json(inspection.survey.problems)}};
  if (inspection.list_tensors) {
    json& tensors = document["tensors"] = json::array();
    for (std::size_t i = 0; i < checkpoint.parameters.size(); ++i) tensors.push_back(tensor_json(inspection, i));
  }
  return document.dump(-1, ' ', false, json::error_handler_t::replace);  // a path may be no UTF-8
}

}  // namespace ckpt
