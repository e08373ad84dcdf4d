/// What a worker says to a message: nothing when all went well, else what went wrong.
#pragma once

#include <string>
#include <string_view>

#include "ckpt/status.h"

namespace ckpt {

/// ok for an empty answer; remote_error (peer) with the worker's words otherwise. `what` was asked ("bucket 7").
[[nodiscard]] Status judge_answer(std::string_view what, std::string_view answer);

}  // namespace ckpt
