#include "os/error.h"

#include <cerrno>
#include <cstring>

namespace ckpt {

StatusCode code_of_errno(int error) {
  switch (error) {
    case ENOENT: return StatusCode::not_found;
    case EEXIST: return StatusCode::already_exists;
    case EACCES:
    case EPERM:
    case EISDIR:
    case ENOTDIR:
    case ELOOP:
    case EADDRINUSE: return StatusCode::failed_precondition;
    case ENOSPC:
    case ENOMEM:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
    case EAGAIN: return StatusCode::resource_exhausted;
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ENOTCONN: return StatusCode::unavailable;
    case ETIMEDOUT: return StatusCode::deadline_exceeded;
    case EINVAL:
    case ENAMETOOLONG: return StatusCode::invalid_argument;
    case EOPNOTSUPP: return StatusCode::unsupported;
    case EIO: return StatusCode::data_corruption;
    default: return StatusCode::internal;
  }
}

Status errno_status(int error, std::string_view what, Scope scope) {
  const char* symbol = ::strerrorname_np(error);
  return {code_of_errno(error), scope, "{}: {} ({})", what, ::strerrordesc_np(error) ? ::strerrordesc_np(error) : "unknown error",
          symbol ? symbol : "?"};
}

}  // namespace ckpt
