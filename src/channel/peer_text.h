/// Text that came from another process, as it may stand in messages and on terminals.
#pragma once

#include <string>
#include <string_view>

namespace ckpt {

/// Whether `text` is UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF.
[[nodiscard]] bool is_utf8(std::string_view text);

/// `text` with line breaks and tabs as they are, other control characters and bytes that are no UTF-8 as \xNN. Longer than `max_bytes`: the middle is
/// left out, since a traceback says what happened in its last lines.
[[nodiscard]] std::string peer_text(std::string_view text, std::size_t max_bytes = 4096);

}  // namespace ckpt
