#include "cuda/host_registry.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>

#include "cuda/result_codes.h"

namespace ckpt::fake {
namespace {

constexpr std::uintptr_t kPage = 4096;
std::uintptr_t page_of(std::uintptr_t address) { return address / kPage * kPage; }
std::uintptr_t page_after(std::uintptr_t address) { return page_of(address + kPage - 1); }

/// Whether all of it is mapped, and may be read (and written).
bool is_accessible(std::uintptr_t begin, std::uintptr_t end, bool to_write) {
  std::FILE* maps = std::fopen("/proc/self/maps", "re");
  if (maps == nullptr) return false;
  char line[4096];
  while (begin < end && std::fgets(line, sizeof line, maps) != nullptr) {
    std::uintptr_t from = 0;
    std::uintptr_t to = 0;
    char access[5] = {};
    if (std::sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &from, &to, access) != 3 || to <= begin) continue;
    if (from > begin || access[0] != 'r' || (to_write && access[1] != 'w')) break;
    begin = to;
  }
  std::fclose(maps);
  return begin >= end;
}

}  // namespace

CuResult HostRegistry::add(const void* address, std::size_t bytes, bool read_only) {
  const auto begin = reinterpret_cast<std::uintptr_t>(address);
  if (bytes == 0 || address == nullptr) return kInvalidValue;
  const std::lock_guard lock(mutex_);
  for (const auto& [from, to] : ranges_)
    if (page_of(begin) < page_after(to) && page_of(from) < page_after(begin + bytes)) return kCuAlreadyRegistered;
  if (!is_accessible(begin, begin + bytes, !read_only)) return kInvalidValue;
  ranges_[begin] = begin + bytes;
  return kCuSuccess;
}

CuResult HostRegistry::remove(const void* address) {
  const std::lock_guard lock(mutex_);
  return ranges_.erase(reinterpret_cast<std::uintptr_t>(address)) == 1 ? kCuSuccess : kNotRegistered;
}

HostMemory HostRegistry::look_up(const void* address, std::size_t bytes) {
  const auto begin = reinterpret_cast<std::uintptr_t>(address);
  const std::uintptr_t end = begin + bytes;
  const std::lock_guard lock(mutex_);
  HostMemory found = HostMemory::pageable;
  for (const auto& [from, to] : ranges_) {
    if (end <= from || to <= begin) continue;
    if (begin < from || to < end) return HostMemory::mixed;
    found = HostMemory::registered;
  }
  return found;
}

}  // namespace ckpt::fake
