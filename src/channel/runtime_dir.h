/// Directories that only this user can enter.
#pragma once

#include <string>

#include "ckpt/result.h"

namespace ckpt {

/// Makes `path` (and its parents) if need be. failed_precondition unless it is a directory of this user that nobody else may enter.
[[nodiscard]] Status make_private_dir(const std::string& path);
/// 128 bits from the system as 32 hexadecimal digits.
[[nodiscard]] Result<std::string> unguessable_name();

}  // namespace ckpt
