/// Device memory of this process: what it allocated, and what it opened of other processes.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "cuda/device_table.h"
#include "fake_cuda.h"
#include "shared_object.h"

namespace ckpt::fake {

/// An object under two addresses: one that the library uses, and one that the caller gets and cannot touch. Work that is queued keeps it alive.
class Allocation {
 public:
  /// Null when there are no addresses left.
  [[nodiscard]] static std::shared_ptr<Allocation> of(std::unique_ptr<SharedObject> object, const void* owner);
  ~Allocation();
  Allocation(const Allocation&) = delete;
  Allocation& operator=(const Allocation&) = delete;

  [[nodiscard]] CuDevicePtr address() const { return reinterpret_cast<CuDevicePtr>(reserved_); }
  [[nodiscard]] std::uint64_t bytes() const { return object_->bytes(); }
  [[nodiscard]] std::byte* data() const { return object_->data(); }
  [[nodiscard]] const std::string& name() const { return object_->name(); }
  void remove_name() const { object_->unlink(); }
  [[nodiscard]] const void* owner() const { return owner_; }

 private:
  Allocation(std::unique_ptr<SharedObject> object, const void* owner) : object_(std::move(object)), owner_(owner) {}
  std::unique_ptr<SharedObject> object_;
  void* reserved_ = nullptr;
  const void* owner_;  // the context
};

/// Part of an allocation; keeps it alive.
struct MemoryPart {
  std::shared_ptr<Allocation> allocation;
  std::uint64_t offset;
  [[nodiscard]] std::byte* data() const { return allocation->data() + offset; }
};

/// Thread-safe.
class DeviceMemory {
 public:
  /// Results are CUDA's.
  CuResult allocate(const VisibleDevice& device, const void* owner, std::uint64_t bytes, CuDevicePtr* address);
  /// Takes it out; it ends with the last work on it. Null: none begins there, or it is another process's.
  [[nodiscard]] std::shared_ptr<Allocation> take(CuDevicePtr address);
  /// All allocations of a context that ends go.
  void drop_all_of(const void* owner);
  /// At the end of the process.
  void remove_names();
  void usage(const VisibleDevice& device, std::size_t* free_bytes, std::size_t* total_bytes) const;

  CuResult export_handle(CuDevicePtr address, CuIpcMemHandle* handle);
  CuResult open_handle(const CuIpcMemHandle& handle, const void* owner, CuDevicePtr* address);
  CuResult close_handle(CuDevicePtr address);

  [[nodiscard]] std::optional<MemoryPart> find(CuDevicePtr address, std::size_t bytes);

 private:
  struct Entry {
    std::shared_ptr<Allocation> allocation;
    int opened = 0;  // > 0: another process's, as many times
  };
  std::mutex mutex_;
  std::map<CuDevicePtr, Entry> entries_;
};

}  // namespace ckpt::fake
