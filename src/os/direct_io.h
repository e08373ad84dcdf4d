/// Big reads into aligned memory: past the page cache where it is cold, out of it where it is warm.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "ckpt/result.h"
#include "os/file.h"
#include "os/page_cache.h"

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
  /// Fills `into` from `offset`. The end of the file may be unaligned. `direct` says which way was taken: past the page cache unless that holds the
  /// bytes, the file system knows no other way, or offset or address are unaligned. data_corruption when the file ends before; the system's error
  /// with path and offset otherwise.
  [[nodiscard]] Status read(std::uint64_t offset, std::span<std::byte> into, bool* direct) const;
  /// data_corruption if size or time of change differ from when it was opened.
  [[nodiscard]] Status check_unchanged() const;

 private:
  DirectFile(File file, UniqueFd direct, bool in_memory)
      : file_(std::move(file)), page_cache_(file_), direct_(std::move(direct)), in_memory_(in_memory) {}
  [[nodiscard]] Status read_direct(std::uint64_t offset, std::span<std::byte> into) const;
  File file_;
  PageCache page_cache_;
  UniqueFd direct_;
  bool in_memory_;
};

}  // namespace ckpt
