/// Memory that several processes map: memfds and files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "ckpt/result.h"
#include "os/unique_fd.h"

namespace ckpt {

enum class Access : std::uint8_t { read_only, read_write };

/// One mmap, unmapped when it ends. Move-only.
class Mapping {
 public:
  Mapping() = default;
  Mapping(Mapping&& other) noexcept : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Mapping& operator=(Mapping&& other) noexcept;
  ~Mapping();

  /// The first `bytes` of `fd`, shared. At a multiple of 2 MiB where they are as many: `fd` may have huge pages.
  [[nodiscard]] static Result<Mapping> shared(int fd, std::uint64_t bytes, Access access);
  /// Private zero pages at a multiple of 2 MiB, marked for huge pages; not populated.
  [[nodiscard]] static Result<Mapping> anonymous(std::uint64_t bytes);

  [[nodiscard]] std::byte* data() const { return data_; }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  [[nodiscard]] std::span<std::byte> span() const { return {data_, bytes_}; }

 private:
  Mapping(std::byte* data, std::uint64_t bytes) : data_(data), bytes_(bytes) {}
  std::byte* data_ = nullptr;
  std::uint64_t bytes_ = 0;
};

/// Anonymous shared memory of `bytes`, sealed against shrinking and growing: nobody who maps it can be hit by SIGBUS. Nothing of it is left after a
/// kill.
[[nodiscard]] Result<UniqueFd> create_memfd(const char* name, std::uint64_t bytes);

/// Size of the file behind `fd`.
[[nodiscard]] Result<std::uint64_t> size_of(int fd);

}  // namespace ckpt
