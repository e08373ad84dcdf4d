/// Names out of files as they may stand in messages and on terminals.
#pragma once

#include <string>
#include <string_view>

namespace ckpt {

/// `name` (valid UTF-8) with control characters as \xNN, and cut behind 200 bytes.
[[nodiscard]] std::string printable(std::string_view name);

}  // namespace ckpt
