#include "os/limits.h"

#include <sys/resource.h>

#include <algorithm>
#include <charconv>
#include <limits>

#include "base/bytes.h"
#include "base/log.h"
#include "os/file.h"

namespace ckpt {
namespace {

constexpr std::uint64_t kNone = std::numeric_limits<std::uint64_t>::max();

std::string slurp(const std::string& path) {
  const Result<Bytes> bytes = read_small_file(path);
  return bytes.ok() ? std::string(as_text(*bytes)) : std::string();
}

/// The number at the start of `text`, or none ("max", a missing file).
std::uint64_t number_or_none(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc{} && end != text.data() ? number : kNone;
}

std::uint64_t meminfo(std::string_view field) {
  const std::string text = slurp("/proc/meminfo");
  std::size_t at = text.find(std::string(field) + ":");
  if (at == std::string::npos) return kNone;
  at = text.find_first_of("0123456789", at);
  return at == std::string::npos ? kNone : number_or_none(std::string_view(text).substr(at)) * KiB;
}

/// The line of /proc/self/cgroup of `controller` ("" is v2): its path.
std::string cgroup_path(std::string_view controller) {
  const std::string text = slurp("/proc/self/cgroup");
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::size_t end = rest.find('\n');
    const std::string_view line = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first != std::string_view::npos && second != std::string_view::npos && line.substr(first + 1, second - first - 1) == controller)
      return std::string(line.substr(second + 1));
  }
  return {};
}

/// The number after `key ` at the start of a line of `text`; 0: none.
std::uint64_t stat_of(const std::string& text, const std::string& key) {
  const std::size_t at = ("\n" + text).find("\n" + key + " ");
  const std::uint64_t number = at == std::string::npos ? kNone : number_or_none(std::string_view(text).substr(at + key.size() + 1));
  return number == kNone ? 0 : number;
}

/// The tightest `limit - used` from the group up to the root of `mount`. Page cache that the group would give up is not in use: reading a checkpoint
/// fills the group with it. `cache`: its name in memory.stat.
std::uint64_t tightest(const std::string& mount, std::string path, const char* limit, const char* used, const char* cache) {
  std::uint64_t least = kNone;
  for (;;) {
    const std::string dir = mount + (path == "/" ? "" : path) + "/";
    const std::uint64_t bound = number_or_none(slurp(dir + limit));
    if (bound < kNone / 4) {
      const std::uint64_t now = number_or_none(slurp(dir + used));
      const std::uint64_t kept = now == kNone ? now : now - std::min(now, stat_of(slurp(dir + "memory.stat"), cache));
      least = std::min(least, kept > bound ? 0 : bound - kept);
    }
    if (path.empty() || path == "/") return least;
    path.resize(path.rfind('/'));
  }
}

std::uint64_t address_space_left() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return kNone;
  const std::uint64_t used = number_or_none(slurp("/proc/self/statm")) * 4096;
  return used > limit.rlim_cur ? 0 : limit.rlim_cur - used;
}

}  // namespace

MemoryBound hard_memory_bound() {
  MemoryBound bound{kNone, ""};
  const auto consider = [&bound](std::uint64_t bytes, const char* name) {
    if (bytes < bound.bytes) bound = {bytes, name};
  };
  consider(tightest("/sys/fs/cgroup", cgroup_path(""), "memory.max", "memory.current", "inactive_file"), "memory.max of the cgroup");
  if (const std::string v1 = cgroup_path("memory"); !v1.empty())
    consider(tightest("/sys/fs/cgroup/memory", v1, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
             "memory.limit_in_bytes of the cgroup");
  consider(address_space_left(), "RLIMIT_AS");
  return bound;
}

std::uint64_t available_memory() { return meminfo("MemAvailable"); }
std::uint64_t total_memory() { return meminfo("MemTotal"); }

Status check_memory(std::uint64_t bytes, const char* what) {
  const MemoryBound bound = hard_memory_bound();
  if (bytes > bound.bytes)
    return Status(StatusCode::resource_exhausted, Scope::operation, "{} needs {} bytes and {} leaves {}: {} bytes are missing", what, bytes,
                  bound.limit, bound.bytes, bytes - bound.bytes)
        .advise("raise the limit, or spread the checkpoint over more ranks");
  if (const std::uint64_t total = total_memory(); bytes > total)
    return Status(StatusCode::resource_exhausted, Scope::operation, "{} needs {} bytes and this machine has {}: {} bytes are missing", what, bytes,
                  total, bytes - total)
        .advise("spread the checkpoint over more ranks or hosts");
  if (const std::uint64_t available = available_memory(); bytes > available)
    log_warning("{} needs {} and the kernel estimates {} to be available: this may end in swapping or an out-of-memory kill", what,
                format_bytes(bytes), format_bytes(available));
  return Status::success();
}

}  // namespace ckpt
