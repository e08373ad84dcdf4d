#include "channel/peer_text.h"

#include <fmt/core.h>

namespace ckpt {
namespace {

unsigned byte_at(std::string_view text, std::size_t i) { return static_cast<unsigned char>(text[i]); }

/// Bytes of the character at the start of `rest` (not empty); 0 when it is none.
std::size_t character_bytes(std::string_view rest) {
  const unsigned first = byte_at(rest, 0);
  if (first < 0x80) return 1;
  const std::size_t size = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  if (size == 0 || rest.size() < size) return 0;
  for (std::size_t i = 1; i < size; ++i)
    if ((byte_at(rest, i) & 0xc0) != 0x80) return 0;
  const unsigned second = byte_at(rest, 1);
  if ((first == 0xe0 && second < 0xa0) || (first == 0xf0 && second < 0x90)) return 0;    // overlong
  if ((first == 0xed && second >= 0xa0) || (first == 0xf4 && second >= 0x90)) return 0;  // surrogate, above U+10FFFF
  return size;
}

/// C0, DEL, and C1, which UTF-8 writes as c2 80 to c2 9f; not what lays out lines.
bool is_control(std::string_view rest) {
  const unsigned first = byte_at(rest, 0);
  if (first == '\n' || first == '\t') return false;
  return first < 0x20 || first == 0x7f || (first == 0xc2 && byte_at(rest, 1) < 0xa0);
}

/// Appends the character or byte at the start of `rest`; returns how many bytes it took.
std::size_t append_one(std::string& out, std::string_view rest) {
  const std::size_t size = character_bytes(rest);
  if (size != 0 && !is_control(rest)) {
    out += rest.substr(0, size);
    return size;
  }
  const std::size_t taken = size == 2 ? 2 : 1;
  out += fmt::format("\\x{:02x}", byte_at(rest, taken - 1));
  return taken;
}

void append(std::string& out, std::string_view text) {
  while (!text.empty()) text.remove_prefix(append_one(out, text));
}

}  // namespace

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t size = character_bytes(text);
    if (size == 0) return false;
    text.remove_prefix(size);
  }
  return true;
}

std::string peer_text(std::string_view text, std::size_t max_bytes) {
  std::string out;
  if (text.size() <= max_bytes) {
    append(out, text);
    return out;
  }
  std::size_t head = max_bytes / 4;
  std::size_t tail = text.size() - (max_bytes - head);
  while (head > 0 && (byte_at(text, head) & 0xc0) == 0x80) --head;  // whole characters on both sides
  while (tail < text.size() && (byte_at(text, tail) & 0xc0) == 0x80) ++tail;
  append(out, text.substr(0, head));
  out += fmt::format(" … ({} bytes left out) … ", tail - head);
  append(out, text.substr(tail));
  return out;
}

}  // namespace ckpt
