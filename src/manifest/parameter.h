/// One tensor of a checkpoint: name, dtype, shape, bytes. Plain value.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "manifest/dtype.h"

namespace ckpt {

/// A named tensor in row-major order. `bytes` is numel × bits / 8, checked where it is made.
struct Parameter {
  std::string name;
  DType dtype = DType::U8;
  std::vector<std::uint64_t> shape;  ///< empty: a scalar (one element); a zero: no elements
  std::uint64_t bytes = 0;

  friend bool operator==(const Parameter&, const Parameter&) = default;
};

/// numel × bits / 8; nullopt when it overflows 64 bits or is no whole number of bytes.
[[nodiscard]] std::optional<std::uint64_t> tensor_bytes(DType dtype, const std::vector<std::uint64_t>& shape);

}  // namespace ckpt
