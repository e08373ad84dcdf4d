/// What tells hosts apart, even where their names are equal: the kernel's boot id. Network namespaces of one host share it, as they share memory.
#pragma once

#include <string>

#include "ckpt/result.h"

namespace ckpt {

/// For example "6ac6d2f1-1d7c-4cb0-9a5e-0f6b8a8f1c55".
[[nodiscard]] Result<std::string> boot_id();

}  // namespace ckpt
