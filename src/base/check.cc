#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace ckpt {

void check_failed(std::string_view expression, const char* file, int line) noexcept {
  std::fprintf(stderr, "ckpt-engine: %s:%d: a condition that must hold does not: %.*s\n", file, line, static_cast<int>(expression.size()),
               expression.data());
  std::abort();
}

}  // namespace ckpt
