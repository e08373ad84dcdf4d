#include "checkpoint/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "base/bytes.h"
#include "base/fault_point.h"
#include "checkpoint/hf_index.h"
#include "checkpoint/printable.h"
#include "checkpoint/shard_file.h"
#include "os/file.h"

namespace ckpt {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kIndexName = "model.safetensors.index.json";
constexpr std::uint64_t kMaxIndexBytes = kMaxHeaderBytes;

Status corrupt(std::string text) { return Status::of(StatusCode::data_corruption, Scope::operation, std::move(text)); }

/// Puts shards together, one after the other; a name in two of them is a problem.
class Joiner {
 public:
  Joiner(Checkpoint& checkpoint, ProblemList& problems) : checkpoint_(checkpoint), problems_(problems) {}

  void add(ShardFile shard) {
    const auto index = static_cast<std::uint32_t>(checkpoint_.files.size());
    checkpoint_.files.push_back(std::move(shard.file));
    for (SafetensorsEntry& entry : shard.header.entries) {
      const auto [found, fresh] = owner_.emplace(entry.parameter.name, index);
      if (!fresh)
        problems_.add(corrupt(fmt::format("{}: tensor {} is also in {}", checkpoint_.files[index].path, printable(entry.parameter.name),
                                          checkpoint_.files[found->second].path)));
      checkpoint_.locations.push_back({index, shard.data_offset + entry.offset_bytes});
      checkpoint_.parameters.push_back(std::move(entry.parameter));
    }
  }

 private:
  Checkpoint& checkpoint_;
  ProblemList& problems_;
  std::unordered_map<std::string, std::uint32_t> owner_;
};

Checkpoint open_files(std::span<const std::string> paths, ProblemList& problems) {
  Checkpoint checkpoint;
  Joiner joiner(checkpoint, problems);
  for (const std::string& path : paths) {
    joiner.add(open_shard(path, problems));
    if (problems.full()) break;
  }
  return checkpoint;
}

using WeightMap = std::map<std::string, std::string>;

/// The index must name each tensor with the shard that holds it, and no other. Shards in `unreadable` were reported already.
void check_index(const Checkpoint& checkpoint, const WeightMap& map, const std::set<std::string>& unreadable, const std::string& directory,
                 ProblemList& problems) {
  std::unordered_set<std::string_view> names;
  for (std::size_t i = 0; i < checkpoint.parameters.size() && !problems.full(); ++i) {
    const std::string& path = checkpoint.files[checkpoint.locations[i].file].path;
    const std::string& name = checkpoint.parameters[i].name;
    names.insert(name);
    const auto entry = map.find(name);
    if (entry == map.end())
      problems.add(corrupt(fmt::format("{}: tensor {} has no entry in the index", path, printable(name))));
    else if (directory + "/" + entry->second != path)
      problems.add(corrupt(fmt::format("{}: the index says that tensor {} is in {}", path, printable(name), printable(entry->second))));
  }
  for (const auto& [name, file] : map)
    if (!names.contains(name) && !unreadable.contains(directory + "/" + file))
      problems.add(
          corrupt(fmt::format("{}/{}: the index names tensor {}, which the file does not have", directory, printable(file), printable(name))));
}

Result<WeightMap> read_index(const std::string& path) {
  CKPT_ASSIGN_OR_RETURN(const File file, File::open_for_reading(path));
  if (file.bytes() > kMaxIndexBytes)
    return Status(StatusCode::resource_exhausted, Scope::operation, "{}: an index of {} bytes is longer than {}", path, file.bytes(), kMaxIndexBytes);
  Bytes text(file.bytes());
  CKPT_RETURN_IF_ERROR(file.read_all(0, text));
  Result<WeightMap> map = parse_hf_index(as_text(text));
  if (!map.ok()) return map.status().with_note("{}", path);
  if (map->empty()) return corrupt(path + ": the index names no tensor");
  return map;
}

Checkpoint open_indexed(const std::string& directory, ProblemList& problems) {
  const Result<WeightMap> map = read_index(directory + "/" + std::string(kIndexName));
  if (!map.ok()) {
    problems.add(map.status());
    return {};
  }
  std::map<std::string, std::string> first_tensor;  // of each shard, for messages
  for (const auto& [name, file] : *map) first_tensor.emplace(directory + "/" + file, name);
  Checkpoint checkpoint;
  Joiner joiner(checkpoint, problems);
  std::set<std::string> unreadable;
  for (const auto& [path, tensor] : first_tensor) {
    ProblemList inside(problems.room());
    joiner.add(open_shard(path, inside));
    if (!inside.empty()) unreadable.insert(path);
    for (const Status& problem : inside.all())
      problems.add(problem.code() == StatusCode::not_found ? problem.with_note("tensor {} of the index has no file", printable(tensor)) : problem);
    if (problems.full()) return checkpoint;
  }
  check_index(checkpoint, *map, unreadable, directory, problems);
  return checkpoint;
}

/// The safetensors files of a directory without an index, by name. Hidden ones are left out, as by every loader's `*.safetensors`.
Result<std::vector<std::string>> list_files(const std::string& directory) {
  CKPT_FAULT_POINT("sys.opendir");
  std::error_code error;
  std::vector<std::string> paths;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.ends_with(".safetensors") && name.front() != '.') paths.push_back(directory + "/" + name);
  }
  if (error) return Status(StatusCode::failed_precondition, Scope::operation, "list {}: {}", directory, error.message());
  if (paths.empty()) return Status(StatusCode::not_found, Scope::operation, "{} holds no safetensors file", directory);
  std::sort(paths.begin(), paths.end());
  return paths;
}

Status check_directory(const std::string& directory) {
  std::error_code error;
  const fs::file_status kind = fs::status(directory, error);
  if (kind.type() == fs::file_type::not_found) return {StatusCode::not_found, Scope::operation, "{}: no such directory", directory};
  if (error) return {StatusCode::failed_precondition, Scope::operation, "{}: {}", directory, error.message()};
  if (fs::is_directory(kind)) return Status::success();
  return Status(StatusCode::invalid_argument, Scope::operation, "{} is no directory", directory)
      .advise("give the directory that holds the safetensors files");
}

Checkpoint open_directory(std::string directory, ProblemList& problems) {
  while (directory.size() > 1 && directory.back() == '/') directory.pop_back();
  problems.add(check_directory(directory));
  if (!problems.empty()) return {};
  std::error_code error;
  // symlink_status: an index that is a dangling link is an error, not an absent index.
  if (fs::exists(fs::symlink_status(directory + "/" + std::string(kIndexName), error))) return open_indexed(directory, problems);
  const Result<std::vector<std::string>> paths = list_files(directory);
  if (paths.ok()) return open_files(*paths, problems);
  problems.add(paths.status());
  return {};
}

}  // namespace

std::uint64_t Checkpoint::total_bytes() const {
  std::uint64_t total = 0;
  for (const Parameter& parameter : parameters) total += parameter.bytes;
  return total;
}

Result<Checkpoint> open_checkpoint(const std::string& directory) {
  ProblemList problems(1);
  Checkpoint checkpoint = open_directory(directory, problems);
  if (!problems.empty()) return problems.first();
  return checkpoint;
}

Result<Checkpoint> open_checkpoint_files(std::span<const std::string> paths) {
  ProblemList problems(1);
  Checkpoint checkpoint = open_files(paths, problems);
  if (!problems.empty()) return problems.first();
  return checkpoint;
}

CheckpointSurvey survey_checkpoint(const std::string& directory, std::size_t max_problems) {
  ProblemList problems(std::max<std::size_t>(max_problems, 1));
  Checkpoint checkpoint = open_directory(directory, problems);
  return {std::move(checkpoint), problems.all()};
}

Status check_engines_take(const Checkpoint& checkpoint) {
  for (std::size_t i = 0; i < checkpoint.parameters.size(); ++i) {
    const Parameter& parameter = checkpoint.parameters[i];
    if (!engines_take(parameter.dtype))
      return Status(StatusCode::invalid_argument, Scope::operation, "{}: tensor {} is {}, which engines cannot take",
                    checkpoint.files[checkpoint.locations[i].file].path, printable(parameter.name), name(parameter.dtype))
          .advise("convert the checkpoint to a dtype that inference engines load");
  }
  return Status::success();
}

}  // namespace ckpt
