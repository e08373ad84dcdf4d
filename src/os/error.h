/// The system's errno as a Status, with the system's own text.
#pragma once

#include <string_view>

#include "ckpt/status.h"

namespace ckpt {

/// Code that fits `error` (an errno value): ENOENT not_found, EACCES failed_precondition, ENOSPC/ENOMEM/EMFILE resource_exhausted,
/// ECONNREFUSED/EPIPE/ECONNRESET unavailable, ETIMEDOUT deadline_exceeded, EINVAL invalid_argument, …, else internal.
[[nodiscard]] StatusCode code_of_errno(int error);

/// `what: strerror (ENAME)`, with the code above.
[[nodiscard]] Status errno_status(int error, std::string_view what, Scope scope = Scope::operation);

}  // namespace ckpt
