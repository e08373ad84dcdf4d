/// Assertions about our own code, never about input. They stay on in release builds.
#pragma once

#include <string_view>

namespace ckpt {

/// Prints the text with its place and ends the process.
[[noreturn]] void check_failed(std::string_view expression, const char* file, int line) noexcept;

}  // namespace ckpt

#define CKPT_CHECK(expression) (static_cast<bool>(expression) ? void() : ::ckpt::check_failed(#expression, __FILE__, __LINE__))
