/// Directories that only this user can enter.
#pragma once

#include <string>

#include "ckpt/result.h"

namespace ckpt {

/// Makes `path` (and its parents) if need be. failed_precondition unless it is a directory of this user that nobody else may enter.
[[nodiscard]] Status make_private_dir(const std::string& path);
/// `path` from the working directory on, without "." and trailing slashes. invalid_argument when it is empty or there is no working directory.
[[nodiscard]] Result<std::string> absolute_path(const std::string& path);
/// 128 bits from the system as 32 hexadecimal digits.
[[nodiscard]] Result<std::string> unguessable_name();

}  // namespace ckpt
