#include "checkpoint/checkpoint.h"

#include <algorithm>
#include <filesystem>

#include "base/fault_point.h"
#include "checkpoint/indexed_checkpoint.h"
#include "checkpoint/printable.h"
#include "checkpoint/shard_join.h"

namespace ckpt {
namespace {

namespace fs = std::filesystem;

Checkpoint open_files(std::span<const std::string> paths, ProblemList& problems) {
  std::vector<ShardFile> shards;
  for (const std::string& path : paths) {
    shards.push_back(open_shard(path, problems));
    if (problems.full()) break;
  }
  return join_shards(std::move(shards), problems);
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
