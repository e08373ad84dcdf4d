/// Inputs that stay readable: a decimal number, a newline, then the bytes that the number belongs to.
#pragma once

#include <charconv>
#include <cstdint>
#include <string_view>

namespace ckpt::fuzz {

struct NumberedInput {
  std::uint64_t number;
  std::string_view rest;
};

/// Without a number in the first line: the count of all bytes, and all bytes.
inline NumberedInput split_number_line(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::size_t line = text.find('\n');
  std::uint64_t number = 0;
  if (line == std::string_view::npos || std::from_chars(text.data(), text.data() + line, number).ptr != text.data() + line) return {size, text};
  return {number, text.substr(line + 1)};
}

}  // namespace ckpt::fuzz
