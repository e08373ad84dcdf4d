#include "device/host/host_mark.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <cerrno>

#include "base/check.h"
#include "base/fault_point.h"
#include "os/error.h"
#include "os/wait_fd.h"

namespace ckpt {

void HostMark::reach() {
  const MutexLock lock(mutex_);
  reached_.store(true, std::memory_order_release);
  const std::uint64_t one = 1;
  if (wake_.valid()) static_cast<void>(!::write(wake_.get(), &one, sizeof one));
  changed_.notify_all();
}

Status HostMark::wait(Deadline deadline, const AbortSignal& abort) {
  if (reached()) return Status::success();
  CKPT_ASSIGN_OR_RETURN(const int fd, wake_fd());
  CKPT_RETURN_IF_ERROR(wait_until_ready(fd, POLLIN, deadline, abort, "a copy in host memory"));
  CKPT_CHECK(reached());  // a descriptor orders no memory: this load does
  return Status::success();
}

Result<int> HostMark::wake_fd() {
  CKPT_FAULT_POINT("sys.eventfd");
  const MutexLock lock(mutex_);
  if (!wake_.valid()) wake_.reset(::eventfd(reached() ? 1 : 0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_.valid()) return errno_status(errno, "create an eventfd to wait for a copy");
  return wake_.get();
}

void HostMark::wait_in_stream() {
  const MutexLock lock(mutex_);
  while (!reached()) changed_.wait(mutex_);
}

}  // namespace ckpt
