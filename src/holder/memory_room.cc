#include "holder/memory_room.h"

#include <charconv>
#include <fstream>
#include <optional>
#include <sstream>

#include "base/bytes.h"
#include "base/fault_point.h"

namespace ckpt {
namespace {

std::optional<std::string> read_text(const std::string& path) {
  std::ifstream file(path);
  if (!file) return std::nullopt;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::optional<std::uint64_t> leading_number(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
  std::uint64_t number = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), number).ec != std::errc{}) return std::nullopt;  // "max" is none, too
  return number;
}

// The number after `key` at the start of a line: "MemAvailable:   123 kB", "inactive_file 123".
std::optional<std::uint64_t> number_of(const std::string& text, std::string_view key) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with(key)) return leading_number(std::string_view(line).substr(key.size()));
  return std::nullopt;
}

std::optional<std::uint64_t> number_in(const std::string& path) {
  const auto text = read_text(path);
  return text ? leading_number(*text) : std::nullopt;
}

struct GroupFiles {
  std::string mount;
  const char* limit;
  const char* usage;
  const char* reclaimable;
};
const GroupFiles kVersion2{"/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file "};
const GroupFiles kVersion1{"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "};

// The bounds of the group at `path` and of each group above it. In a container `path` may not exist below the mount; its root then holds the bound.
void tighten(MemoryRoom& room, const std::string& root, const GroupFiles& files, std::string path) {
  for (;;) {
    const std::string folder = root + files.mount + path + "/";
    const auto limit = number_in(folder + files.limit);
    const auto usage = number_in(folder + files.usage);
    if (limit && usage) {
      const std::uint64_t reclaimable = number_of(read_text(folder + "memory.stat").value_or(""), files.reclaimable).value_or(0);
      const std::uint64_t used = *usage - std::min(*usage, reclaimable);
      const std::uint64_t left = *limit - std::min(*limit, used);
      if (left < room.bytes) room = {left, folder + files.limit};
    }
    if (path.empty() || path == "/") return;
    path.resize(path.rfind('/'));
  }
}

}  // namespace

Result<MemoryRoom> read_memory_room(const std::string& root) {
  CKPT_FAULT_POINT("sys.open");
  const auto available = number_of(read_text(root + "/proc/meminfo").value_or(""), "MemAvailable:");
  if (!available) return Status(StatusCode::internal, Scope::process, "{}/proc/meminfo does not say MemAvailable", root);
  MemoryRoom room{*available * KiB, "MemAvailable"};
  std::istringstream groups(read_text(root + "/proc/self/cgroup").value_or(""));
  for (std::string line; std::getline(groups, line);) {  // "0::/path" or "4:cpu,memory:/path"
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    if (controllers == ",,") tighten(room, root, kVersion2, line.substr(second + 1));
    if (controllers.find(",memory,") != std::string::npos) tighten(room, root, kVersion1, line.substr(second + 1));
  }
  return room;
}

Status check_room_for_weights(std::uint64_t one_copy_bytes, bool in_place, const MemoryRoom& room) {
  const auto needed = in_place ? std::optional(one_copy_bytes) : checked_multiply(one_copy_bytes, 2);
  if (needed && *needed <= room.bytes) return Status::success();
  const std::uint64_t missing = needed ? *needed - room.bytes : ~std::uint64_t{0};
  const bool one_fits = !in_place && one_copy_bytes <= room.bytes;
  return Status(StatusCode::resource_exhausted, Scope::process, "{} of weights{} need {} bytes; {} bytes are free by {}: {} bytes are missing",
                format_bytes(one_copy_bytes), in_place ? "" : " and the second copy that an update is staged in", needed.value_or(~std::uint64_t{0}),
                room.bytes, room.bound, missing)
      .advise(one_fits ? "free memory, raise the bound, or give the second copy up with --in-place: a failed update then leaves nothing whole"
                       : "free memory, raise the bound, or spread the model over more hosts");
}

}  // namespace ckpt
