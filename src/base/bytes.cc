#include "base/bytes.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstring>

namespace ckpt {
namespace {

struct ByteUnit {
  std::string_view suffix;
  double factor;
};
constexpr std::array<ByteUnit, 15> kUnits{{{"", 1},
                                           {"B", 1},
                                           {"K", 1024.0},
                                           {"KiB", 1024.0},
                                           {"KB", 1e3},
                                           {"kB", 1e3},
                                           {"M", 1048576.0},
                                           {"MiB", 1048576.0},
                                           {"MB", 1e6},
                                           {"G", 1073741824.0},
                                           {"GiB", 1073741824.0},
                                           {"GB", 1e9},
                                           {"T", 1099511627776.0},
                                           {"TiB", 1099511627776.0},
                                           {"TB", 1e12}}};

Status not_a_size(std::string_view text) {
  return {StatusCode::invalid_argument, Scope::operation, "\"{}\" is not a size in bytes: write for example 4096, 512MiB or 8GB", text};
}

}  // namespace

Result<std::uint64_t> parse_bytes(std::string_view text) {
  std::uint64_t whole = 0;
  if (const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), whole);
      error == std::errc{} && end == text.data() + text.size())
    return whole;  // exact, also above 2^53
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || !std::isfinite(number) || number < 0) return not_a_size(text);
  std::string_view suffix = text.substr(static_cast<std::size_t>(end - text.data()));
  while (!suffix.empty() && suffix.front() == ' ') suffix.remove_prefix(1);
  for (const ByteUnit& unit : kUnits) {
    if (unit.suffix != suffix) continue;
    const double bytes = number * unit.factor;
    if (bytes >= 9.2e18) return not_a_size(text);
    return static_cast<std::uint64_t>(bytes);
  }
  return not_a_size(text);
}

std::string format_bytes(std::uint64_t bytes) {
  constexpr std::array<std::string_view, 6> kNames{"B", "kB", "MB", "GB", "TB", "PB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 999.5 && unit + 1 < kNames.size()) {
    value /= 1000;
    ++unit;
  }
  if (unit == 0) return fmt::format("{} B", bytes);
  const int digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return fmt::format("{:.{}f} {}", value, digits, kNames[unit]);
}

std::string format_rate(std::uint64_t bytes, double seconds) {
  if (!(seconds > 0)) return "-";
  return fmt::format("{:.2f} GB/s", static_cast<double>(bytes) / 1e9 / seconds);
}

Bytes to_bytes(std::string_view text) {
  Bytes bytes(text.size());
  if (!text.empty()) std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

std::string to_hex(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return text;
}

}  // namespace ckpt
