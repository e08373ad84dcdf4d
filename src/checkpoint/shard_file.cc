#include "checkpoint/shard_file.h"

#include <cstring>
#include <filesystem>
#include <span>

#include "os/file.h"

namespace ckpt {
namespace {

namespace fs = std::filesystem;

/// A link that leads nowhere opens as "no such file", about a name that is there.
Status explain_missing(const std::string& path, const Status& status) {
  std::error_code error;
  if (status.code() != StatusCode::not_found || !fs::is_symlink(fs::symlink_status(path, error))) return status;
  const fs::path target = fs::read_symlink(path, error);
  return status.with_note("{} is a link that leads nowhere (to {})", path, target.string())
      .advise("download the file again, or copy the link's target too");
}

Result<std::string> read_header(const File& file) {
  std::uint64_t length = 0;
  if (file.bytes() < sizeof length)
    return Status(StatusCode::data_corruption, Scope::operation, "{}: {} bytes are too few for a safetensors file", file.path(), file.bytes());
  std::byte head[sizeof length];
  CKPT_RETURN_IF_ERROR(file.read_all(0, head));
  std::memcpy(&length, head, sizeof length);  // little-endian, as every machine this runs on
  if (length > kMaxHeaderBytes)
    return Status(StatusCode::resource_exhausted, Scope::operation, "{}: a header of {} bytes is longer than {}", file.path(), length,
                  kMaxHeaderBytes);
  if (length > file.bytes() - sizeof length)
    return Status(StatusCode::data_corruption, Scope::operation, "{}: a header of {} bytes does not fit into a file of {}: the file is cut",
                  file.path(), length, file.bytes());
  std::string json(length, '\0');
  CKPT_RETURN_IF_ERROR(file.read_all(sizeof length, std::as_writable_bytes(std::span(json))));
  return json;
}

}  // namespace

ShardFile open_shard(const std::string& path, ProblemList& problems) {
  ShardFile shard;
  shard.file.path = path;
  const Result<File> file = File::open_for_reading(path);
  if (!file.ok()) {
    problems.add(explain_missing(path, file.status()));
    return shard;
  }
  shard.file.bytes = file->bytes();
  shard.file.modified_ns = file->modified_ns();
  const Result<std::string> json = read_header(*file);
  if (!json.ok()) {
    problems.add(json.status());
    return shard;
  }
  shard.data_offset = sizeof(std::uint64_t) + json->size();
  ProblemList inside(problems.room());
  shard.header = parse_safetensors_header(*json, file->bytes() - shard.data_offset, inside);
  for (const Status& problem : inside.all()) problems.add(problem.with_note("{}", path));
  shard.file.metadata = std::move(shard.header.metadata);
  return shard;
}

}  // namespace ckpt
