#include <array>

#include "channel/bucket_session.h"
#include "channel/native_codec.h"
#include "channel/pickle_writer.h"

namespace ckpt {
namespace {

constexpr std::array<std::string_view, 4> kDialectNames{"auto", "1", "2", "native"};

}  // namespace

std::string_view name(Dialect dialect) { return kDialectNames[static_cast<std::size_t>(dialect)]; }

std::optional<Dialect> dialect_from_name(std::string_view name) {
  for (std::size_t i = 0; i < kDialectNames.size(); ++i)
    if (kDialectNames[i] == name) return static_cast<Dialect>(i);
  return std::nullopt;
}

std::string encode_bucket(Dialect dialect, std::uint32_t bucket, std::span<const PlacedTensor> tensors, std::span<const UnitCheck> checks) {
  return dialect == Dialect::native ? encode_native_bucket(bucket, tensors, checks) : pickle_bucket(tensors);
}

}  // namespace ckpt
