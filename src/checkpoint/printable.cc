#include "checkpoint/printable.h"

#include <fmt/core.h>

#include <algorithm>

namespace ckpt {
namespace {

constexpr std::size_t kMaxBytes = 200;

bool continues(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

/// C0, DEL, and C1, which UTF-8 writes as c2 80 to c2 9f.
bool is_control(std::string_view rest) {
  const auto c = static_cast<unsigned char>(rest[0]);
  return c < 0x20 || c == 0x7f || (c == 0xc2 && rest.size() > 1 && static_cast<unsigned char>(rest[1]) < 0xa0);
}

}  // namespace

std::string printable(std::string_view name) {
  std::size_t end = std::min(name.size(), kMaxBytes);
  while (end < name.size() && end > 0 && continues(name[end])) --end;
  std::string text;
  for (std::size_t i = 0; i < end; ++i) {
    if (!is_control(name.substr(i))) {
      text += name[i];
      continue;
    }
    const bool two_bytes = static_cast<unsigned char>(name[i]) == 0xc2;
    text += fmt::format("\\x{:02x}", static_cast<unsigned char>(name[two_bytes ? ++i : i]));
  }
  if (end < name.size()) text += fmt::format("… ({} bytes)", name.size());
  return text;
}

}  // namespace ckpt
