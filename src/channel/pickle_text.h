/// Values of a pickle as people read them.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "channel/pickle_value.h"

namespace ckpt {

/// Close to what Python's repr writes: `[("a", 1), b"00ff", torch.bfloat16, builtins.ValueError("no")]`; control characters as \xNN. Ends with "…"
/// soon after `max_bytes`.
[[nodiscard]] std::string pickle_repr(const PickleDocument& document, std::size_t max_bytes = 4096);

/// "ValueError: no" when the value is an exception; nullopt otherwise.
[[nodiscard]] std::optional<std::string> pickled_exception(const PickleDocument& document, std::size_t max_bytes = 4096);

}  // namespace ckpt
