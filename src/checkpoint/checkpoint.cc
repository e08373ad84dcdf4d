#include "checkpoint/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <set>
#include <unordered_map>

#include "base/bytes.h"
#include "checkpoint/hf_index.h"
#include "checkpoint/safetensors_header.h"
#include "os/file.h"

namespace ckpt {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kIndexName = "model.safetensors.index.json";
constexpr std::uint64_t kMaxIndexBytes = 512 * MiB;

struct ShardFile {
  CheckpointFile file;
  SafetensorsHeader header;
  std::uint64_t data_offset = 0;
};

Result<ShardFile> open_shard(const std::string& path) {
  CKPT_ASSIGN_OR_RETURN(const File file, File::open_for_reading(path));
  std::uint64_t length = 0;
  if (file.bytes() < sizeof length)
    return Status(StatusCode::data_corruption, Scope::operation, "{}: {} bytes are too few for a safetensors file", path, file.bytes());
  std::byte head[sizeof length];
  CKPT_RETURN_IF_ERROR(file.read_all(0, head));
  std::memcpy(&length, head, sizeof length);  // little-endian, as every machine this runs on
  if (length > kMaxHeaderBytes)
    return Status(StatusCode::resource_exhausted, Scope::operation, "{}: a header of {} bytes is longer than {}", path, length, kMaxHeaderBytes);
  if (length > file.bytes() - sizeof length)
    return Status(StatusCode::data_corruption, Scope::operation, "{}: a header of {} bytes does not fit into a file of {}: the file is cut", path,
                  length, file.bytes());
  std::string json(length, '\0');
  CKPT_RETURN_IF_ERROR(file.read_all(sizeof length, std::as_writable_bytes(std::span(json))));
  const std::uint64_t data_offset = sizeof length + length;
  Result<SafetensorsHeader> header = parse_safetensors_header(json, file.bytes() - data_offset);
  if (!header.ok()) return header.status().with_note("{}", path);
  ShardFile shard{{path, file.bytes(), header->metadata}, {}, data_offset};
  shard.header.entries = std::move(header->entries);
  return shard;
}

/// Joins shards in the given order; a name in two of them is refused.
Result<Checkpoint> join(std::vector<ShardFile> shards) {
  Checkpoint checkpoint;
  std::unordered_map<std::string, std::uint32_t> owner;
  for (std::uint32_t index = 0; index < shards.size(); ++index) {
    for (SafetensorsEntry& entry : shards[index].header.entries) {
      const auto [found, fresh] = owner.emplace(entry.parameter.name, index);
      if (!fresh)
        return Status(StatusCode::data_corruption, Scope::operation, "{}: tensor {} is also in {}", shards[index].file.path, entry.parameter.name,
                      checkpoint.files[found->second].path);
      checkpoint.locations.push_back({index, shards[index].data_offset + entry.offset_bytes});
      checkpoint.parameters.push_back(std::move(entry.parameter));
    }
    checkpoint.files.push_back(std::move(shards[index].file));
  }
  return checkpoint;
}

Result<Checkpoint> open_all(std::span<const std::string> paths) {
  std::vector<ShardFile> shards;
  for (const std::string& path : paths) {
    CKPT_ASSIGN_OR_RETURN(ShardFile shard, open_shard(path));
    shards.push_back(std::move(shard));
  }
  return join(std::move(shards));
}

/// The index must name each tensor with the shard that holds it, and no other.
Status check_index(const Checkpoint& checkpoint, const std::map<std::string, std::string>& map, const std::string& directory) {
  for (std::size_t i = 0; i < checkpoint.parameters.size(); ++i) {
    const std::string& path = checkpoint.files[checkpoint.locations[i].file].path;
    const auto entry = map.find(checkpoint.parameters[i].name);
    if (entry == map.end())
      return {StatusCode::data_corruption, Scope::operation, "{}: tensor {} has no entry in the index", path, checkpoint.parameters[i].name};
    if (directory + "/" + entry->second != path)
      return {StatusCode::data_corruption,   Scope::operation, "{}: the index says that tensor {} is in {}", path,
              checkpoint.parameters[i].name, entry->second};
  }
  if (map.size() == checkpoint.parameters.size()) return Status::success();
  std::set<std::string_view> names;
  for (const Parameter& parameter : checkpoint.parameters) names.insert(parameter.name);
  for (const auto& [name, file] : map)
    if (!names.contains(name))
      return {StatusCode::data_corruption, Scope::operation, "{}/{}: the index names tensor {}, which the file does not have", directory, file, name};
  return Status::success();
}

Result<Checkpoint> open_indexed(const std::string& directory) {
  const std::string path = directory + "/" + std::string(kIndexName);
  CKPT_ASSIGN_OR_RETURN(const Bytes text, read_small_file(path, kMaxIndexBytes));
  Result<std::map<std::string, std::string>> map = parse_hf_index(as_text(text));
  if (!map.ok()) return map.status().with_note("{}", path);
  std::set<std::string> shards;
  for (const auto& [name, file] : *map) shards.insert(directory + "/" + file);
  if (shards.empty()) return Status(StatusCode::data_corruption, Scope::operation, "{} names no tensor", path);
  const std::vector<std::string> paths(shards.begin(), shards.end());
  CKPT_ASSIGN_OR_RETURN(Checkpoint checkpoint, open_all(paths));
  CKPT_RETURN_IF_ERROR(check_index(checkpoint, *map, directory));
  return checkpoint;
}

}  // namespace

std::uint64_t Checkpoint::total_bytes() const {
  std::uint64_t total = 0;
  for (const Parameter& parameter : parameters) total += parameter.bytes;
  return total;
}

Result<Checkpoint> open_checkpoint(const std::string& given) {
  std::string directory = given;
  while (directory.size() > 1 && directory.back() == '/') directory.pop_back();
  std::error_code error;
  const fs::file_status kind = fs::status(directory, error);
  if (!fs::exists(kind)) return Status(StatusCode::not_found, Scope::operation, "{}: no such directory", directory);
  if (!fs::is_directory(kind))
    return Status(StatusCode::invalid_argument, Scope::operation, "{} is no directory", directory)
        .advise("give the directory that holds the safetensors files");
  // symlink_status: an index that is a dangling link is an error below, not an absent index.
  if (fs::exists(fs::symlink_status(directory + "/" + std::string(kIndexName), error))) return open_indexed(directory);
  std::vector<std::string> paths;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error))
    if (entry->path().extension() == ".safetensors") paths.push_back(directory + "/" + entry->path().filename().string());
  if (error) return Status(StatusCode::failed_precondition, Scope::operation, "list {}: {}", directory, error.message());
  if (paths.empty()) return Status(StatusCode::not_found, Scope::operation, "{} holds no safetensors file", directory);
  std::sort(paths.begin(), paths.end());
  return open_all(paths);
}

Result<Checkpoint> open_checkpoint_files(std::span<const std::string> paths) { return open_all(paths); }

Status check_engines_take(const Checkpoint& checkpoint) {
  for (std::size_t i = 0; i < checkpoint.parameters.size(); ++i) {
    const Parameter& parameter = checkpoint.parameters[i];
    if (!engines_take(parameter.dtype))
      return Status(StatusCode::invalid_argument, Scope::operation, "{}: tensor {} is {}, which engines cannot take",
                    checkpoint.files[checkpoint.locations[i].file].path, parameter.name, name(parameter.dtype))
          .advise("convert the checkpoint to a dtype that inference engines load");
  }
  return Status::success();
}

}  // namespace ckpt
