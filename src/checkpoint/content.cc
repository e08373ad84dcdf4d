#include "checkpoint/content.h"

#include <xxhash.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace ckpt {
namespace {

/// Bits that may be set: for floating point all but the highest of the exponent, so that there is neither infinity nor NaN and |x| < 2.
std::uint64_t mask_of(DType dtype) {
  switch (dtype) {
    case DType::BOOL: return 0x0101010101010101;
    case DType::F8_E5M2:
    case DType::F8_E4M3: return 0xbfbfbfbfbfbfbfbf;
    case DType::F8_E8M0: return 0x7f7f7f7f7f7f7f7f;
    case DType::F8_E4M3FNUZ:
    case DType::F8_E5M2FNUZ: return 0x3f3f3f3f3f3f3f3f;  // 0x80 is their NaN
    case DType::F16:
    case DType::BF16: return 0xbfffbfffbfffbfff;
    case DType::F32:
    case DType::C64: return 0xbfffffffbfffffff;
    case DType::F64: return 0xbfffffffffffffff;
    default: return ~std::uint64_t{0};
  }
}

/// SplitMix64's output function of a counter: any word can be made without those before it.
std::uint64_t word(std::uint64_t start, std::uint64_t index) {
  std::uint64_t x = start + index * 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

}  // namespace

void fill_content(const Parameter& parameter, std::uint64_t seed, std::uint64_t offset_bytes, std::span<std::byte> into) {
  CKPT_CHECK(offset_bytes % sizeof(std::uint64_t) == 0);
  const std::uint64_t start = XXH3_64bits_withSeed(parameter.name.data(), parameter.name.size(), seed);
  const std::uint64_t mask = mask_of(parameter.dtype);
  std::uint64_t index = offset_bytes / sizeof(std::uint64_t);
  std::byte* out = into.data();
  for (std::size_t left = into.size(); left > 0; ++index) {
    const std::uint64_t value = word(start, index) & mask;
    const std::size_t bytes = std::min(left, sizeof value);
    if (bytes == sizeof value)
      std::memcpy(out, &value, sizeof value);
    else
      std::memcpy(out, &value, bytes);
    out += bytes;
    left -= bytes;
  }
}

}  // namespace ckpt
