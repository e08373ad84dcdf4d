/// How much memory this process may still take, and which limit says so.
#pragma once

#include <cstdint>
#include <string>

#include "ckpt/result.h"
#include "os/cgroup.h"

namespace ckpt {

/// A bound and its name, for the error text.
struct MemoryBound {
  std::uint64_t bytes;
  std::string limit;  ///< "memory.max of the cgroup", "RLIMIT_AS", "MemAvailable"
};

/// What the cgroups of either version leave, the tightest on the way up. UINT64_MAX with an empty name where there is none.
[[nodiscard]] MemoryBound cgroup_memory_bound(const CgroupFiles& files = {});
/// The tightest hard bound: cgroups and RLIMIT_AS. UINT64_MAX with an empty name where there is none.
[[nodiscard]] MemoryBound hard_memory_bound();
/// MemAvailable of /proc/meminfo: an estimate of the kernel, only good for a warning.
[[nodiscard]] std::uint64_t available_memory();
[[nodiscard]] std::uint64_t total_memory();

/// resource_exhausted with the missing bytes and the limit's name unless `bytes` more fit; logs a warning where only MemAvailable is short.
[[nodiscard]] Status check_memory(std::uint64_t bytes, const char* what);

/// resource_exhausted with the missing number unless this process may open `count` more descriptors; raises the soft RLIMIT_NOFILE where that helps.
[[nodiscard]] Status check_descriptors(std::uint64_t count, const char* what);

}  // namespace ckpt
