#include "manifest/parameter.h"

#include <algorithm>

#include "base/bytes.h"

namespace ckpt {

std::optional<std::uint64_t> tensor_bytes(DType dtype, const std::vector<std::uint64_t>& shape) {
  if (std::find(shape.begin(), shape.end(), 0u) != shape.end()) return 0;
  std::uint64_t count = 1;
  for (const std::uint64_t dimension : shape) {
    const auto product = checked_multiply(count, dimension);
    if (!product) return std::nullopt;
    count = *product;
  }
  const auto total_bits = checked_multiply(count, bits(dtype));
  if (!total_bits || *total_bits % 8 != 0) return std::nullopt;
  return *total_bits / 8;
}

}  // namespace ckpt
