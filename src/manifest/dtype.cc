#include "manifest/dtype.h"

#include <array>

namespace ckpt {
namespace {

struct Row {
  DType dtype;
  std::string_view name;
  std::string_view torch_name;
  std::uint64_t bits;
};

constexpr std::array<Row, kNumDTypes> kRows{{
    {DType::BOOL, "BOOL", "bool", 8},
    {DType::F4, "F4", "", 4},
    {DType::F6_E2M3, "F6_E2M3", "", 6},
    {DType::F6_E3M2, "F6_E3M2", "", 6},
    {DType::U8, "U8", "uint8", 8},
    {DType::I8, "I8", "int8", 8},
    {DType::F8_E5M2, "F8_E5M2", "float8_e5m2", 8},
    {DType::F8_E4M3, "F8_E4M3", "float8_e4m3fn", 8},
    {DType::F8_E8M0, "F8_E8M0", "float8_e8m0fnu", 8},
    {DType::F8_E4M3FNUZ, "F8_E4M3FNUZ", "float8_e4m3fnuz", 8},
    {DType::F8_E5M2FNUZ, "F8_E5M2FNUZ", "float8_e5m2fnuz", 8},
    {DType::I16, "I16", "int16", 16},
    {DType::U16, "U16", "uint16", 16},
    {DType::F16, "F16", "float16", 16},
    {DType::BF16, "BF16", "bfloat16", 16},
    {DType::I32, "I32", "int32", 32},
    {DType::U32, "U32", "uint32", 32},
    {DType::F32, "F32", "float32", 32},
    {DType::C64, "C64", "", 64},
    {DType::F64, "F64", "float64", 64},
    {DType::I64, "I64", "int64", 64},
    {DType::U64, "U64", "uint64", 64},
}};

constexpr bool rows_are_in_order() {
  for (std::size_t i = 0; i < kRows.size(); ++i)
    if (kRows[i].dtype != static_cast<DType>(i)) return false;
  return true;
}
static_assert(rows_are_in_order(), "kRows is indexed by the dtype");

const Row& row(DType dtype) { return kRows[static_cast<std::size_t>(dtype)]; }

}  // namespace

std::string_view name(DType dtype) { return row(dtype).name; }
std::string_view torch_name(DType dtype) { return row(dtype).torch_name; }
std::uint64_t bits(DType dtype) { return row(dtype).bits; }

std::optional<DType> dtype_from_name(std::string_view name) {
  for (const Row& r : kRows)
    if (r.name == name) return r.dtype;
  return std::nullopt;
}

std::optional<DType> dtype_from_torch_name(std::string_view name) {
  if (name.starts_with("torch.")) name.remove_prefix(6);
  for (const Row& r : kRows)
    if (!r.torch_name.empty() && r.torch_name == name) return r.dtype;
  return std::nullopt;
}

}  // namespace ckpt
