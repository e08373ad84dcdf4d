/// Files opened for reading, with errors that name the path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/bytes.h"
#include "ckpt/result.h"
#include "os/unique_fd.h"

namespace ckpt {

/// An open regular file. Thread-safe: reads name their offset.
class File {
 public:
  /// Opens a regular file; symlinks are followed. not_found, failed_precondition (a folder, a pipe, no permission), resource_exhausted.
  [[nodiscard]] static Result<File> open_for_reading(const std::string& path);

  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }             ///< when it was opened
  [[nodiscard]] std::int64_t modified_ns() const { return modified_ns_; }  ///< st_mtim when it was opened
  /// Fills `into` from `offset`, through short reads. data_corruption when the file ends before; the system's error otherwise.
  [[nodiscard]] Status read_all(std::uint64_t offset, std::span<std::byte> into) const;

 private:
  File(UniqueFd fd, std::string path, std::uint64_t bytes, std::int64_t modified_ns)
      : fd_(std::move(fd)), path_(std::move(path)), bytes_(bytes), modified_ns_(modified_ns) {}
  UniqueFd fd_;
  std::string path_;
  std::uint64_t bytes_;
  std::int64_t modified_ns_;
};

/// A whole file of at most `max_bytes`: also for those whose size is not told before (/proc). resource_exhausted when it is longer.
[[nodiscard]] Result<Bytes> read_small_file(const std::string& path, std::uint64_t max_bytes = 1u << 20);

}  // namespace ckpt
