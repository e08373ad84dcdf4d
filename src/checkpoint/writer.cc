#include "checkpoint/writer.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "base/fault_point.h"
#include "checkpoint/content.h"
#include "os/output_file.h"

namespace ckpt {
namespace {

using json = nlohmann::ordered_json;

constexpr std::uint64_t kWriteBytes = 1 * MiB;

/// Consecutive parameters by bytes, no shard empty.
std::vector<std::vector<Parameter>> split(std::span<const Parameter> parameters, std::uint32_t num_shards) {
  std::uint64_t total = 0;
  for (const Parameter& parameter : parameters) total += parameter.bytes;
  std::vector<std::vector<Parameter>> shards(1);
  std::uint64_t taken = 0;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const std::uint64_t missing = num_shards - shards.size();
    const bool full = taken / shards.size() >= total / num_shards;
    if (missing > 0 && !shards.back().empty() && (full || parameters.size() - i == missing)) shards.emplace_back();
    shards.back().push_back(parameters[i]);
    taken += parameters[i].bytes;
  }
  for (std::vector<Parameter>& shard : shards)
    std::sort(shard.begin(), shard.end(), [](const Parameter& a, const Parameter& b) {
      return bits(a.dtype) != bits(b.dtype) ? bits(a.dtype) > bits(b.dtype) : a.name < b.name;
    });
  return shards;
}

Status write_index(const std::string& path, const std::vector<std::vector<Parameter>>& shards, const std::vector<std::string>& names) {
  std::uint64_t total = 0;
  std::map<std::string, std::string> files;
  for (std::size_t i = 0; i < shards.size(); ++i)
    for (const Parameter& parameter : shards[i]) {
      files[parameter.name] = names[i];
      total += parameter.bytes;
    }
  const json index{{"metadata", {{"total_size", total}}}, {"weight_map", files}};
  return write_small_file(path, index.dump(2) + "\n");
}

Status make_directory(const std::string& directory) {
  CKPT_FAULT_POINT("sys.mkdir");
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) return {StatusCode::failed_precondition, Scope::operation, "make directory {}: {}", directory, error.message()};
  return Status::success();
}

/// What a reader would mix with the new files.
Status refuse_strangers(const std::string& directory, const std::vector<std::string>& names) {
  std::error_code error;
  for (std::filesystem::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (!name.ends_with(".safetensors") && !name.ends_with(".safetensors.index.json")) continue;
    if (std::find(names.begin(), names.end(), name) == names.end())
      return Status(StatusCode::already_exists, Scope::operation, "{} holds {} of another checkpoint", directory, name)
          .advise("give an empty directory, or remove the old checkpoint");
  }
  return Status::success();
}

}  // namespace

Result<std::string> safetensors_head(std::span<const Parameter> parameters, const std::map<std::string, std::string>& metadata) {
  json header = json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::string text = header.dump();
  text.pop_back();  // a DOM of all entries would look each key up among all others
  std::uint64_t offset = 0;
  for (const Parameter& parameter : parameters) {
    const json entry{{"dtype", name(parameter.dtype)}, {"shape", parameter.shape}, {"data_offsets", {offset, offset + parameter.bytes}}};
    if (text.size() > 1) text += ',';
    try {
      text += json(parameter.name).dump() + ":" + entry.dump();
    } catch (const json::exception& error) {
      return Status(StatusCode::invalid_argument, Scope::operation, "the name of tensor {} is no UTF-8: {}", &parameter - parameters.data(),
                    error.what());
    }
    offset += parameter.bytes;
  }
  text += '}';
  text.resize(align_up(text.size(), 8), ' ');
  std::string head(sizeof(std::uint64_t), '\0');
  for (std::size_t i = 0; i < head.size(); ++i) head[i] = static_cast<char>(text.size() >> (8 * i));
  return head + text;
}

Status write_safetensors_file(const std::string& path, std::span<const Parameter> parameters, const WriteOptions& options) {
  Result<std::string> head = safetensors_head(parameters, options.metadata);
  if (!head.ok()) return head.status().with_note("{}", path);
  CKPT_ASSIGN_OR_RETURN(OutputFile file, OutputFile::create(path));
  CKPT_RETURN_IF_ERROR(file.write(std::as_bytes(std::span(*head))));
  Bytes piece(kWriteBytes);
  std::size_t used = 0;  // small tensors share one write
  for (const Parameter& parameter : parameters)
    for (std::uint64_t offset = 0; offset < parameter.bytes;) {
      // a piece of a tensor ends at a multiple of 8, as the next one must start there
      const std::uint64_t room = align_down(piece.size() - used, 8);
      const std::uint64_t bytes = std::min(parameter.bytes - offset, room);
      fill_content(parameter, options.seed, offset, std::span(piece).subspan(used, bytes));
      used += bytes;
      offset += bytes;
      if (piece.size() - used >= 8) continue;
      CKPT_RETURN_IF_ERROR(file.write(std::span(piece).first(used)));
      used = 0;
    }
  CKPT_RETURN_IF_ERROR(file.write(std::span(piece).first(used)));
  return file.commit();
}

Result<std::vector<std::string>> write_checkpoint(const std::string& directory, std::span<const Parameter> parameters, const WriteOptions& options) {
  CKPT_RETURN_IF_ERROR(make_directory(directory));
  const auto shards = split(parameters, std::max(options.num_shards, 1u));
  std::vector<std::string> names;
  for (std::size_t i = 0; i < shards.size(); ++i)
    names.push_back(shards.size() == 1 ? "model.safetensors" : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size()));
  if (shards.size() > 1) names.emplace_back("model.safetensors.index.json");
  CKPT_RETURN_IF_ERROR(refuse_strangers(directory, names));
  for (std::size_t i = 0; i < shards.size(); ++i) CKPT_RETURN_IF_ERROR(write_safetensors_file(directory + "/" + names[i], shards[i], options));
  if (shards.size() > 1) CKPT_RETURN_IF_ERROR(write_index(directory + "/" + names.back(), shards, names));
  return names;
}

}  // namespace ckpt
