/// The memory of a host pool: big huge-page-backed pieces, registered with the device once and used again by later checkpoints.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "base/thread_annotations.h"
#include "hostpool/registered_memory.h"
#include "os/shared_memory.h"

namespace ckpt {

/// One piece of memory. Resident after its first load; registered with the device from then on until it ends.
class PoolArena {
 public:
  PoolArena(Device& device, Mapping mapping) : mapping_(std::move(mapping)), registered_(device, mapping_.span(), Access::read_write) {}
  PoolArena(const PoolArena&) = delete;
  PoolArena& operator=(const PoolArena&) = delete;

  [[nodiscard]] std::span<std::byte> memory() const { return mapping_.span(); }
  [[nodiscard]] bool resident() const { return resident_; }
  /// What the first load registers, as it goes.
  [[nodiscard]] RegisteredMemory& registered() { return registered_; }
  /// The first load is through.
  void became_resident() { resident_ = true; }

 private:
  Mapping mapping_;
  RegisteredMemory registered_;  // after the mapping: ends before it
  bool resident_ = false;
};

/// Memory that a load needs, and what it may do to get it: fields as in LoadOptions.
struct ArenaRequest {
  std::uint64_t bytes;
  unsigned num_sharing = 1;
  const std::function<bool()>& give_up = {};
};

/// Arenas that no share uses at the moment. Thread-safe.
class ArenaStore {
 public:
  explicit ArenaStore(Device& device) : device_(&device) {}

  /// The smallest free arena that takes so much, else a fresh one; free ones that are too small end first, so that the peak stays low, and where
  /// memory is scarce what others can give up.
  [[nodiscard]] Result<std::unique_ptr<PoolArena>> take(const ArenaRequest& request) CKPT_EXCLUDES(mutex_);
  /// Keeps a resident arena for the next checkpoint; one whose load failed ends instead.
  void give_back(std::unique_ptr<PoolArena> arena) CKPT_EXCLUDES(mutex_);
  [[nodiscard]] std::uint64_t reserved_bytes() const CKPT_EXCLUDES(mutex_);
  [[nodiscard]] std::uint32_t num_made() const CKPT_EXCLUDES(mutex_);
  void free_unused() CKPT_EXCLUDES(mutex_);

 private:
  [[nodiscard]] std::unique_ptr<PoolArena> take_free(std::uint64_t bytes) CKPT_EXCLUDES(mutex_);

  Device* device_;
  mutable Mutex mutex_;
  std::vector<std::unique_ptr<PoolArena>> free_ CKPT_GUARDED_BY(mutex_);
  std::uint64_t lent_bytes_ CKPT_GUARDED_BY(mutex_) = 0;
  std::uint32_t num_made_ CKPT_GUARDED_BY(mutex_) = 0;
};

}  // namespace ckpt
