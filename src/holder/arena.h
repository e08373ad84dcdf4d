/// Memory of one version of one worker's weights: a memfd that the front creates and keeps open, so that it outlives a killed worker.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "ckpt/result.h"
#include "os/unique_fd.h"

namespace ckpt {

/// A sealed memfd of fixed size: no peer that maps it can be hit by its truncation. Pages come when they are touched.
[[nodiscard]] Result<UniqueFd> create_arena_memory(const std::string& name, std::uint64_t bytes);

/// A mapping of such memory. Move-only; unmaps itself. Threads: none of its own.
class Arena {
 public:
  /// data_corruption when `fd` is not `bytes` long.
  [[nodiscard]] static Result<Arena> map(UniqueFd fd, std::uint64_t bytes);
  Arena(Arena&& other) noexcept;
  Arena& operator=(Arena&&) = delete;
  ~Arena();

  [[nodiscard]] std::span<std::byte> bytes() const { return {data_, bytes_}; }
  /// Takes all pages now, with `threads` threads, leaving their content: afterwards writing needs no new memory. resource_exhausted.
  [[nodiscard]] Status populate(unsigned threads) const;

 private:
  Arena(UniqueFd fd, std::byte* data, std::uint64_t bytes) : fd_(std::move(fd)), data_(data), bytes_(bytes) {}
  UniqueFd fd_;
  std::byte* data_ = nullptr;
  std::uint64_t bytes_ = 0;
};

}  // namespace ckpt
