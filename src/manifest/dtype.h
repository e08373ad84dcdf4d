/// Element types, as safetensors and torch name them.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace ckpt {

/// Every dtype of the safetensors format (0.8). Order is the wire order of the native channel: append only.
enum class DType : std::uint8_t {
  BOOL,
  F4,
  F6_E2M3,
  F6_E3M2,
  U8,
  I8,
  F8_E5M2,
  F8_E4M3,
  F8_E8M0,
  F8_E4M3FNUZ,
  F8_E5M2FNUZ,
  I16,
  U16,
  F16,
  BF16,
  I32,
  U32,
  F32,
  C64,
  F64,
  I64,
  U64
};
inline constexpr std::size_t kNumDTypes = 22;

[[nodiscard]] std::string_view name(DType dtype);        ///< "BF16", as in a safetensors header
[[nodiscard]] std::string_view torch_name(DType dtype);  ///< "bfloat16"; empty where the engines' channel has none (sub-byte, complex)
[[nodiscard]] std::uint64_t bits(DType dtype);           ///< 4, 6, 8, 16, 32 or 64
[[nodiscard]] std::optional<DType> dtype_from_name(std::string_view name);
[[nodiscard]] std::optional<DType> dtype_from_torch_name(std::string_view name);  ///< with or without "torch."
/// Whether the engines' channel carries it.
[[nodiscard]] inline bool engines_take(DType dtype) { return !torch_name(dtype).empty(); }

}  // namespace ckpt
