#include "os/limits.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <limits>
#include <system_error>

#include "base/bytes.h"
#include "base/log.h"

namespace ckpt {
namespace {

constexpr std::uint64_t kNone = std::numeric_limits<std::uint64_t>::max();

std::uint64_t meminfo(std::string_view field) {
  const std::string text = text_of("/proc/meminfo");
  std::size_t at = text.find(std::string(field) + ":");
  if (at == std::string::npos) return kNone;
  at = text.find_first_of("0123456789", at);
  const auto number = leading_number(std::string_view(text).substr(std::min(at, text.size())));
  return number ? *number * KiB : kNone;
}

/// Names of the files of one cgroup version.
struct MemoryFiles {
  const char* controller;
  const char* limit;
  const char* used;
  const char* cache;  ///< in memory.stat: page cache that the group would give up
  const char* name;   ///< of the bound
};
constexpr MemoryFiles kMemoryFiles[] = {
    {"", "/memory.max", "/memory.current", "inactive_file", "memory.max of the cgroup"},
    {"memory", "/memory.limit_in_bytes", "/memory.usage_in_bytes", "total_inactive_file", "memory.limit_in_bytes of the cgroup"},
};

/// What one group leaves. Page cache that it would give up is not in use: reading a checkpoint fills the group with it.
std::uint64_t left_in(const std::string& directory, const MemoryFiles& files) {
  const auto limit = leading_number(text_of(directory + files.limit));
  if (!limit || *limit >= kNone / 4) return kNone;  // version 1 writes "no limit" as a very large number
  const auto used = leading_number(text_of(directory + files.used));
  if (!used) return *limit;
  const std::uint64_t cache = number_of_line(text_of(directory + "/memory.stat"), files.cache).value_or(0);
  const std::uint64_t kept = *used - std::min(*used, cache);
  return kept > *limit ? 0 : *limit - kept;
}

std::uint64_t address_space_left() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return kNone;
  const std::uint64_t used = leading_number(text_of("/proc/self/statm")).value_or(0) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return used > limit.rlim_cur ? 0 : limit.rlim_cur - used;
}

}  // namespace

MemoryBound cgroup_memory_bound(const CgroupFiles& files) {
  MemoryBound bound{kNone, ""};
  for (const MemoryFiles& version : kMemoryFiles)
    for (const std::string& directory : files.directories(version.controller))
      if (const std::uint64_t left = left_in(directory, version); left < bound.bytes) bound = {left, version.name};
  return bound;
}

MemoryBound hard_memory_bound() {
  MemoryBound bound = cgroup_memory_bound();
  if (const std::uint64_t left = address_space_left(); left < bound.bytes) bound = {left, "RLIMIT_AS"};
  return bound;
}

std::uint64_t available_memory() { return meminfo("MemAvailable"); }
std::uint64_t total_memory() { return meminfo("MemTotal"); }

Status check_descriptors(std::uint64_t count, const char* what) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return Status::success();
  std::error_code unknown;
  const auto open = static_cast<std::uint64_t>(std::distance(std::filesystem::directory_iterator("/proc/self/fd", unknown), {}));
  const std::uint64_t needed = open + count;
  if (needed <= limit.rlim_cur) return Status::success();
  if (needed <= limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    if (::setrlimit(RLIMIT_NOFILE, &limit) == 0) return Status::success();
  }
  return Status(StatusCode::resource_exhausted, Scope::process, "{} needs {} descriptors and RLIMIT_NOFILE leaves {} of {}: {} are missing", what,
                count, limit.rlim_cur - std::min<std::uint64_t>(open, limit.rlim_cur), limit.rlim_cur, needed - limit.rlim_cur)
      .advise("ulimit -n 65536");
}

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
