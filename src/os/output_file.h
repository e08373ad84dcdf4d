/// A file that appears whole or not at all: written under a name of its own, renamed by commit().
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "ckpt/result.h"
#include "os/unique_fd.h"

namespace ckpt {

/// Owns `path`.partial until commit(); what was not committed is removed when it ends. One writer at a time.
class OutputFile {
 public:
  /// Creates `path`.partial, emptying an old one. not_found (no such folder), failed_precondition (no permission), resource_exhausted.
  [[nodiscard]] static Result<OutputFile> create(const std::string& path);
  OutputFile(OutputFile&& other) noexcept = default;
  OutputFile& operator=(OutputFile&&) = delete;
  ~OutputFile();

  /// Appends all of `bytes`. resource_exhausted when the disk is full; says at which offset.
  [[nodiscard]] Status write(std::span<const std::byte> bytes);
  /// Closes the file and puts it in `path`'s place. Not synced to the disk: this is for data that can be made again.
  [[nodiscard]] Status commit();

 private:
  OutputFile(UniqueFd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}
  [[nodiscard]] std::string partial_path() const { return path_ + ".partial"; }

  UniqueFd fd_;  // valid until commit() or a move
  std::string path_;
  std::uint64_t written_bytes_ = 0;
};

/// `text` as the file `path`, whole or not at all.
[[nodiscard]] Status write_small_file(const std::string& path, std::string_view text);

}  // namespace ckpt
