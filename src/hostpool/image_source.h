/// Where the bytes of an image come from: a file, or a caller's tensors.
#pragma once

#include <memory>
#include <variant>

#include "base/thread_annotations.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/tensor_memory.h"
#include "device/device.h"
#include "os/direct_io.h"

namespace ckpt {

/// Copies out of the memory of a device, one row of them at a time. Thread-safe.
class DeviceReader {
 public:
  explicit DeviceReader(Device& device) : device_(device) {}
  /// Returns when the bytes are there: no abort leaves a copy under way into memory that is about to end.
  [[nodiscard]] Status read(std::span<const TensorMemory::DevicePart> parts, Deadline deadline) CKPT_EXCLUDES(mutex_);

 private:
  Device& device_;
  Mutex mutex_;
  std::unique_ptr<DeviceStream> stream_ CKPT_GUARDED_BY(mutex_);  // made when it is needed
};

/// Thread-safe.
class ImageSource {
 public:
  /// data_corruption: the file is not the one whose header was read.
  [[nodiscard]] static Result<ImageSource> open(const CheckpointFile& file);

  /// Its bytes are copied, not read from a disk.
  [[nodiscard]] bool in_memory() const { return disk_file() == nullptr || disk_file()->in_memory(); }
  /// A file on tmpfs, which can be mapped in place; else null.
  [[nodiscard]] const File* mappable() const { return disk_file() != nullptr && disk_file()->in_memory() ? &disk_file()->file() : nullptr; }
  /// As DirectFile::read.
  [[nodiscard]] Status read(std::uint64_t offset, std::span<std::byte> into, bool* direct, DeviceReader& device, Deadline deadline) const;
  [[nodiscard]] Status check_unchanged() const { return disk_file() != nullptr ? disk_file()->check_unchanged() : Status::success(); }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  using Origin = std::variant<DirectFile, std::shared_ptr<const TensorMemory>>;
  ImageSource(Origin origin, std::string path) : origin_(std::move(origin)), path_(std::move(path)) {}
  [[nodiscard]] const DirectFile* disk_file() const { return std::get_if<DirectFile>(&origin_); }

  Origin origin_;
  std::string path_;
};

}  // namespace ckpt
