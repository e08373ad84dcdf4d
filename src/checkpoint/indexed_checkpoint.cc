#include "checkpoint/indexed_checkpoint.h"

#include <map>
#include <set>
#include <unordered_set>

#include "base/bytes.h"
#include "checkpoint/hf_index.h"
#include "checkpoint/printable.h"
#include "checkpoint/problems.h"
#include "checkpoint/shard_join.h"
#include "os/file.h"

namespace ckpt {
namespace {

constexpr std::uint64_t kMaxIndexBytes = kMaxHeaderBytes;

using WeightMap = std::map<std::string, std::string>;

/// Entries of the index whose file does not have the tensor. Shards in `unreadable` were reported already.
void check_entries(const Checkpoint& checkpoint, const WeightMap& map, const std::set<std::string>& unreadable, const std::string& directory,
                   ProblemList& problems) {
  std::unordered_set<std::string_view> names;
  for (const Parameter& parameter : checkpoint.parameters) names.insert(parameter.name);
  for (const auto& [name, file] : map)
    if (!names.contains(name) && !unreadable.contains(directory + "/" + file))
      problems.add(
          corrupt(fmt::format("{}/{}: the index names tensor {}, which the file does not have", directory, printable(file), printable(name))));
}

/// The index must name each tensor with the shard that holds it, and no other.
void check_index(const Checkpoint& checkpoint, const WeightMap& map, const std::set<std::string>& unreadable, const std::string& directory,
                 ProblemList& problems) {
  for (std::size_t i = 0; i < checkpoint.parameters.size() && !problems.full(); ++i) {
    const std::string& path = checkpoint.files[checkpoint.locations[i].file].path;
    const std::string& name = checkpoint.parameters[i].name;
    const auto entry = map.find(name);
    if (entry == map.end())
      problems.add(corrupt(fmt::format("{}: tensor {} has no entry in the index", path, printable(name))));
    else if (std::string_view(path).substr(directory.size() + 1) != entry->second)
      problems.add(corrupt(fmt::format("{}: the index says that tensor {} is in {}", path, printable(name), printable(entry->second))));
  }
  // As many names as entries, each found above: nothing is left over.
  if (problems.empty() && map.size() == checkpoint.parameters.size()) return;
  check_entries(checkpoint, map, unreadable, directory, problems);
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

}  // namespace

Checkpoint open_indexed(const std::string& directory, ProblemList& problems) {
  const Result<WeightMap> map = read_index(directory + "/" + std::string(kIndexName));
  if (!map.ok()) {
    problems.add(map.status());
    return {};
  }
  std::map<std::string, std::string> first_tensor;  // of each shard, for messages
  for (const auto& [name, file] : *map) first_tensor.emplace(directory + "/" + file, name);
  std::vector<ShardFile> shards;
  std::set<std::string> unreadable;
  for (const auto& [path, tensor] : first_tensor) {
    ProblemList inside(problems.room());
    shards.push_back(open_shard(path, inside));
    if (!inside.empty()) unreadable.insert(path);
    for (const Status& problem : inside.all())
      problems.add(problem.code() == StatusCode::not_found ? problem.with_note("tensor {} of the index has no file", printable(tensor)) : problem);
    if (problems.full()) break;
  }
  Checkpoint checkpoint = join_shards(std::move(shards), problems);
  if (!problems.full()) check_index(checkpoint, *map, unreadable, directory, problems);
  return checkpoint;
}

}  // namespace ckpt
