/// One GET of an engine's route, for commands that look at engines.
#pragma once

#include <string>

#include "base/deadline.h"
#include "ckpt/result.h"

namespace ckpt {

/// The body of a 200 reply; unavailable or remote_error otherwise.
[[nodiscard]] Result<std::string> http_get(const std::string& endpoint, const std::string& path, Deadline deadline);

}  // namespace ckpt
