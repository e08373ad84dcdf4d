/// Byte sizes: units, rounding, overflow-checked arithmetic, text. GB = 1e9 bytes, GiB = 2^30.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ckpt/result.h"

namespace ckpt {

using Bytes = std::vector<std::byte>;

inline constexpr std::uint64_t KiB = 1024;
inline constexpr std::uint64_t MiB = 1024 * KiB;
inline constexpr std::uint64_t GiB = 1024 * MiB;

/// Every tensor offset and every bucket size is a multiple of this, whatever the user asks for (design rule 9).
inline constexpr std::uint64_t kTensorAlignment = 256;

/// `alignment` is a power of two; the result must fit (see checked_align_up for input that may not).
[[nodiscard]] constexpr std::uint64_t align_up(std::uint64_t value, std::uint64_t alignment) { return (value + alignment - 1) & ~(alignment - 1); }
[[nodiscard]] constexpr std::uint64_t align_down(std::uint64_t value, std::uint64_t alignment) { return value & ~(alignment - 1); }
/// Any positive `unit`.
[[nodiscard]] constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t unit) { return (value + unit - 1) / unit * unit; }

[[nodiscard]] constexpr std::optional<std::uint64_t> checked_add(std::uint64_t a, std::uint64_t b) {
  std::uint64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}
[[nodiscard]] constexpr std::optional<std::uint64_t> checked_multiply(std::uint64_t a, std::uint64_t b) {
  std::uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

/// "512MiB", "8GB", "4096", "0.3GB" → bytes. invalid_argument with the text otherwise (negative, unknown unit, overflow).
[[nodiscard]] Result<std::uint64_t> parse_bytes(std::string_view text);
/// `16.38 GB`, `512 MB`, `17 B`: decimal units, three digits.
[[nodiscard]] std::string format_bytes(std::uint64_t bytes);
/// `55.5 GB/s`; `-` when no time passed.
[[nodiscard]] std::string format_rate(std::uint64_t bytes, double seconds);

/// Two lower-case digits a byte.
[[nodiscard]] std::string to_hex(std::string_view bytes);

[[nodiscard]] inline std::string_view as_text(const Bytes& bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
[[nodiscard]] Bytes to_bytes(std::string_view text);

}  // namespace ckpt
