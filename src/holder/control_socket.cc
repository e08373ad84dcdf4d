#include "holder/control_socket.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>

#include "base/fault_point.h"
#include "os/error.h"
#include "os/fd_passing.h"

namespace ckpt {
namespace {

constexpr std::size_t kMaxMessage = 64 * 1024;

}  // namespace

Result<std::pair<ControlSocket, ControlSocket>> ControlSocket::pair() {
  std::array<int, 2> fds{};
  CKPT_FAULT_POINT("sys.socketpair");
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds.data()) != 0) return errno_status(errno, "socketpair");
  return std::pair{ControlSocket(UniqueFd(fds[0])), ControlSocket(UniqueFd(fds[1]))};
}

Result<ControlSocket> ControlSocket::duplicate() const {
  CKPT_FAULT_POINT("sys.fcntl");
  UniqueFd fd(::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0));
  if (!fd.valid()) return errno_status(errno, "duplicating the control socket");
  return ControlSocket(std::move(fd));
}

Status ControlSocket::send(std::string_view text, std::span<const int> fds) const {
  const AbortSignal never;
  return send_fds(fd_.get(), fds, text, Deadline::after(Duration::zero()), never);
}

Result<ControlMessage> ControlSocket::receive(Deadline deadline, const AbortSignal& abort) const {
  CKPT_ASSIGN_OR_RETURN(ReceivedFds received, receive_fds(fd_.get(), kMaxMessage, deadline, abort));
  return ControlMessage{std::move(received.payload), std::move(received.fds)};
}

}  // namespace ckpt
