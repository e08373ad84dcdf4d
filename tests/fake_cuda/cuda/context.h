/// Contexts, and the streams and events that belong to them.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "cuda/device_table.h"
#include "cuda/result_codes.h"
#include "cuda/stream.h"

namespace ckpt::fake {

/// A device's primary context, from its first retain to its last release.
struct Context {
  const VisibleDevice* device;
  int ordinal;
  std::atomic<CuResult> spoiled{kCuSuccess};  ///< the first error of work: every later call returns it
  void spoil(CuResult error) {
    CuResult none = kCuSuccess;
    spoiled.compare_exchange_strong(none, error);
  }
};

struct StreamOfContext {
  std::shared_ptr<Stream> stream;
  std::shared_ptr<Context> context;
};

struct Event {
  explicit Event(bool with_time) : timed(with_time) {}
  const bool timed;
  std::mutex mutex;
  std::shared_ptr<Mark> mark;  // of the last record
  [[nodiscard]] std::shared_ptr<Mark> last_record() {
    const std::lock_guard lock(mutex);
    return mark;
  }
};

/// Handles as callers hold them: numbers that are never used again, so that what has ended is found out.
template <typename T>
class HandleTable {
 public:
  void* add(T object) {
    const std::lock_guard lock(mutex_);
    objects_.emplace(++last_, std::move(object));
    return reinterpret_cast<void*>(last_ * 16 + kTag);
  }
  /// A T that is empty, when there is none.
  [[nodiscard]] T find(void* handle) {
    const std::lock_guard lock(mutex_);
    const auto found = objects_.find(number_of(handle));
    return found == objects_.end() ? T{} : found->second;
  }
  [[nodiscard]] T take(void* handle) {
    const std::lock_guard lock(mutex_);
    const auto found = objects_.find(number_of(handle));
    if (found == objects_.end()) return T{};
    T object = std::move(found->second);
    objects_.erase(found);
    return object;
  }
  template <typename Condition>
  [[nodiscard]] std::vector<T> take_if(Condition condition) {
    const std::lock_guard lock(mutex_);
    std::vector<T> taken;
    std::erase_if(objects_, [&](auto& entry) {
      if (!condition(entry.second)) return false;
      taken.push_back(std::move(entry.second));
      return true;
    });
    return taken;
  }
  [[nodiscard]] std::vector<T> all() {
    const std::lock_guard lock(mutex_);
    std::vector<T> found;
    for (const auto& entry : objects_) found.push_back(entry.second);
    return found;
  }

 private:
  static constexpr std::uintptr_t kTag = 8;  // no handle is null, or could be an address that is used
  static std::uintptr_t number_of(void* handle) {
    const auto value = reinterpret_cast<std::uintptr_t>(handle);
    return value % 16 == kTag ? value / 16 : 0;
  }
  std::mutex mutex_;
  std::map<std::uintptr_t, T> objects_;
  std::uintptr_t last_ = 0;
};

}  // namespace ckpt::fake
