#include "checkpoint/shard_join.h"

#include <string_view>
#include <unordered_map>

#include "checkpoint/printable.h"

namespace ckpt {
namespace {

/// A name in two shards is a problem. Within one, its header was checked.
void check_names(const std::vector<ShardFile>& shards, ProblemList& problems) {
  std::size_t num_tensors = 0;
  for (const ShardFile& shard : shards) num_tensors += shard.header.entries.size();
  std::unordered_map<std::string_view, const ShardFile*> owner;
  owner.reserve(num_tensors);
  for (const ShardFile& shard : shards)
    for (const SafetensorsEntry& entry : shard.header.entries) {
      const auto [found, fresh] = owner.emplace(entry.parameter.name, &shard);
      if (!fresh)
        problems.add({StatusCode::data_corruption, Scope::operation, "{}: tensor {} is also in {}", shard.file.path, printable(entry.parameter.name),
                      found->second->file.path});
    }
}

}  // namespace

Checkpoint join_shards(std::vector<ShardFile> shards, ProblemList& problems) {
  if (shards.size() > 1) check_names(shards, problems);
  Checkpoint checkpoint;
  for (ShardFile& shard : shards) {
    const auto index = static_cast<std::uint32_t>(checkpoint.files.size());
    for (SafetensorsEntry& entry : shard.header.entries) {
      checkpoint.locations.push_back({index, shard.data_offset + entry.offset_bytes});
      checkpoint.parameters.push_back(std::move(entry.parameter));
    }
    checkpoint.files.push_back(std::move(shard.file));
  }
  return checkpoint;
}

}  // namespace ckpt
