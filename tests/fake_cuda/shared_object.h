/// Objects of POSIX shared memory that both libraries make: device memory, and the meeting places of communicators.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace ckpt::fake {

/// An object, mapped. While a process that made or joined it lives, it holds a shared lock on it; an object without any is left over.
/// Movable. The name is removed at the end by the process that made it, and only by that.
class SharedObject {
 public:
  /// A new object of `bytes`, all of them there. Null when there is no room.
  [[nodiscard]] static std::unique_ptr<SharedObject> create(const std::string& name, std::uint64_t bytes);
  /// The object `name`, made of `bytes` zeros if it is not there. Its name stays until unlink().
  [[nodiscard]] static std::unique_ptr<SharedObject> join(const std::string& name, std::uint64_t bytes);
  /// Somebody else's object as it is; no lock is held on it. Null when it is gone.
  [[nodiscard]] static std::unique_ptr<SharedObject> look_at(const std::string& name);
  ~SharedObject();
  SharedObject(const SharedObject&) = delete;
  SharedObject& operator=(const SharedObject&) = delete;

  [[nodiscard]] std::byte* data() const { return data_; }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  void unlink() const;

 private:
  SharedObject(std::string name, int fd) : name_(std::move(name)), fd_(fd) {}
  [[nodiscard]] bool map(std::uint64_t bytes);

  std::string name_;
  int fd_;
  std::byte* data_ = nullptr;
  std::uint64_t bytes_ = 0;
  int maker_ = 0;  // process that removes the name at the end
};

inline constexpr const char* kMemoryPrefix = "/ckpt-fake-gpu-";
inline constexpr const char* kMeetingPrefix = "/ckpt-fake-nccl-";

/// Removes objects whose processes are all dead.
void remove_left_over_objects();
/// Bytes of all objects whose name begins with `prefix`.
[[nodiscard]] std::uint64_t bytes_of_objects(const std::string& prefix);
/// `prefix`, the process, and what no other process has.
[[nodiscard]] std::string new_object_name(const std::string& prefix);

}  // namespace ckpt::fake
