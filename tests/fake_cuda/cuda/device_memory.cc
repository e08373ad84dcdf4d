#include "cuda/device_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "cuda/result_codes.h"

namespace ckpt::fake {
namespace {

std::string prefix_of(const VisibleDevice& device) { return kMemoryPrefix + device.machine + "-" + device.place() + "-"; }

}  // namespace

std::shared_ptr<Allocation> Allocation::of(std::unique_ptr<SharedObject> object, const void* owner) {
  const std::uint64_t bytes = object->bytes();
  void* at = ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) return nullptr;
  std::shared_ptr<Allocation> allocation(new Allocation(std::move(object), owner));
  allocation->reserved_ = at;
  return allocation;
}

Allocation::~Allocation() {
  if (reserved_ != nullptr) ::munmap(reserved_, bytes());
}

CuResult DeviceMemory::allocate(const VisibleDevice& device, const void* owner, std::uint64_t bytes, CuDevicePtr* address) {
  if (bytes == 0) return kInvalidValue;
  std::size_t free_bytes = 0;
  std::size_t total_bytes = 0;
  usage(device, &free_bytes, &total_bytes);
  if (bytes > free_bytes) return kCuOutOfMemory;
  auto object = SharedObject::create(new_object_name(prefix_of(device)), bytes);
  if (object == nullptr || bytes_of_objects(prefix_of(device)) > total_bytes) return kCuOutOfMemory;  // somebody was faster
  auto allocation = Allocation::of(std::move(object), owner);
  if (allocation == nullptr) return kCuOutOfMemory;
  *address = allocation->address();
  const std::lock_guard lock(mutex_);
  entries_[*address] = {std::move(allocation)};
  return kCuSuccess;
}

std::shared_ptr<Allocation> DeviceMemory::take(CuDevicePtr address) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(address);
  if (found == entries_.end() || found->second.opened > 0) return nullptr;
  auto allocation = std::move(found->second.allocation);
  entries_.erase(found);
  allocation->remove_name();
  return allocation;
}

void DeviceMemory::drop_all_of(const void* owner) {
  const std::lock_guard lock(mutex_);
  std::erase_if(entries_, [owner](const auto& item) {
    const Entry& entry = item.second;
    if (entry.allocation->owner() != owner) return false;
    if (entry.opened == 0) entry.allocation->remove_name();  // work may still hold it
    return true;
  });
}

void DeviceMemory::remove_names() {
  const std::lock_guard lock(mutex_);
  for (const auto& [address, entry] : entries_)
    if (entry.opened == 0) entry.allocation->remove_name();
}

void DeviceMemory::usage(const VisibleDevice& device, std::size_t* free_bytes, std::size_t* total_bytes) const {
  remove_left_over_objects();
  const std::uint64_t used = bytes_of_objects(prefix_of(device));
  *total_bytes = device.bytes;
  *free_bytes = device.bytes - std::min(used, device.bytes);
}

CuResult DeviceMemory::export_handle(CuDevicePtr address, CuIpcMemHandle* handle) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(address);
  if (found == entries_.end() || found->second.opened > 0) return kInvalidValue;
  handle->bytes.fill('\0');
  found->second.allocation->name().copy(handle->bytes.data(), handle->bytes.size() - 1);
  return kCuSuccess;
}

CuResult DeviceMemory::open_handle(const CuIpcMemHandle& handle, const void* owner, CuDevicePtr* address) {
  const std::string name(handle.bytes.data(), ::strnlen(handle.bytes.data(), handle.bytes.size()));
  if (name.size() == handle.bytes.size() || !name.starts_with(kMemoryPrefix)) return kInvalidValue;
  const std::lock_guard lock(mutex_);
  for (auto& [at, entry] : entries_) {
    if (entry.allocation->name() != name) continue;
    if (entry.opened == 0) return kInvalidContext;  // its own: CUDA says so, too
    ++entry.opened;
    *address = at;
    return kCuSuccess;
  }
  auto object = SharedObject::look_at(name);
  if (object == nullptr) return kInvalidHandle;
  auto allocation = Allocation::of(std::move(object), owner);
  if (allocation == nullptr) return kMapFailed;
  *address = allocation->address();
  entries_[*address] = {std::move(allocation), 1};
  return kCuSuccess;
}

CuResult DeviceMemory::close_handle(CuDevicePtr address) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(address);
  if (found == entries_.end() || found->second.opened == 0) return kInvalidValue;
  if (--found->second.opened == 0) entries_.erase(found);
  return kCuSuccess;
}

std::optional<MemoryPart> DeviceMemory::find(CuDevicePtr address, std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  auto after = entries_.upper_bound(address);
  if (after == entries_.begin()) return std::nullopt;
  const auto& allocation = std::prev(after)->second.allocation;
  const std::uint64_t offset = address - allocation->address();
  if (offset > allocation->bytes() || bytes > allocation->bytes() - offset) return std::nullopt;
  return MemoryPart{allocation, offset};
}

}  // namespace ckpt::fake
