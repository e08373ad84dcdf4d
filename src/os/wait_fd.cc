#include "os/wait_fd.h"

#include <poll.h>

#include <cerrno>

#include "os/error.h"

namespace ckpt {
namespace {

/// poll(2) on `fd` (-1: none) and the abort's descriptor. Whether `fd` is ready; false after an interruption or at the deadline.
Result<bool> poll_once(int fd, short events, Deadline deadline, const AbortSignal& abort, std::string_view what) {
  pollfd entries[2] = {{fd, events, 0}, {abort.fd(), POLLIN, 0}};  // poll(2) skips an entry of -1
  const int num_ready = ::poll(entries, 2, deadline.poll_ms());
  if (num_ready < 0 && errno != EINTR) return errno_status(errno, what);
  return num_ready > 0 && entries[0].revents != 0;
}

}  // namespace

Status wait_until_ready(int fd, short events, Deadline deadline, const AbortSignal& abort, std::string_view what) {
  while (true) {
    CKPT_RETURN_IF_ERROR(abort.check());
    const bool last = deadline.passed();
    CKPT_ASSIGN_OR_RETURN(const bool ready, poll_once(fd, events, deadline, abort, what));
    CKPT_RETURN_IF_ERROR(abort.check());
    if (ready) return Status::success();
    if (last) return deadline.check(what);
  }
}

Status pause_for(Duration duration, const AbortSignal& abort) {
  const Status status = wait_until_ready(-1, 0, Deadline::after(duration), abort, "pause");
  return status.code() == StatusCode::deadline_exceeded ? abort.check() : status;
}

}  // namespace ckpt
