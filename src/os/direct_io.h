/// Big reads into aligned memory: past the page cache where it is cold, out of it where it is warm.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "ckpt/result.h"
#include "os/file.h"

namespace ckpt {

/// One file opened twice: buffered, and with O_DIRECT where the file system takes it. Thread-safe.
class DirectFile {
 public:
  /// Offsets, sizes and addresses must be multiples of this for a direct read; others are read buffered.
  static constexpr std::uint64_t kAlignment = 4096;

  [[nodiscard]] static Result<DirectFile> open(const std::string& path);

  [[nodiscard]] const File& file() const { return file_; }
  /// On tmpfs: its pages can be mapped in place.
  [[nodiscard]] bool in_memory() const { return in_memory_; }
  /// Fills `into` from `offset`. The end of the file may be unaligned. `direct` says which way was taken. data_corruption when the file ends before.
  [[nodiscard]] Status read(std::uint64_t offset, std::span<std::byte> into, bool* direct) const;
  /// data_corruption if size or time of change differ from when it was opened.
  [[nodiscard]] Status check_unchanged() const;

 private:
  DirectFile(File file, UniqueFd direct, bool in_memory) : file_(std::move(file)), direct_(std::move(direct)), in_memory_(in_memory) {}
  [[nodiscard]] bool is_cached(std::uint64_t offset, std::uint64_t bytes) const;
  [[nodiscard]] Status read_direct(std::uint64_t offset, std::span<std::byte> into) const;
  File file_;
  UniqueFd direct_;
  bool in_memory_;
};

}  // namespace ckpt
