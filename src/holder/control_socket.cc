#include "holder/control_socket.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "base/fault_point.h"
#include "os/error.h"
#include "os/wait_fd.h"

namespace ckpt {
namespace {

constexpr std::size_t kMaxMessage = 64 * 1024;
constexpr std::size_t kMaxFds = 8;

Status gone() { return {StatusCode::unavailable, Scope::peer, "the process at the other end of the control socket has ended"}; }

std::vector<UniqueFd> take_fds(msghdr& header) {
  std::vector<UniqueFd> fds;
  for (cmsghdr* control = CMSG_FIRSTHDR(&header); control != nullptr; control = CMSG_NXTHDR(&header, control)) {
    if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(control) + i * sizeof(int), sizeof fd);
      fds.emplace_back(fd);
    }
  }
  return fds;
}

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
  if (text.size() > kMaxMessage || fds.size() > kMaxFds)
    return {StatusCode::internal, Scope::process, "a control message of {} bytes and {} descriptors", text.size(), fds.size()};
  iovec part{const_cast<char*>(text.data()), text.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxFds * sizeof(int))> buffer{};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (!fds.empty()) {
    header.msg_control = buffer.data();
    header.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* control = CMSG_FIRSTHDR(&header);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(control), fds.data(), fds.size_bytes());
  }
  CKPT_FAULT_POINT("sys.sendmsg");
  ssize_t sent = -1;
  do sent = ::sendmsg(fd_.get(), &header, MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  if (sent >= 0) return Status::success();
  if (errno == EPIPE || errno == ECONNRESET) return gone();
  return errno_status(errno, "sendmsg on the control socket", Scope::peer);
}

Result<ControlMessage> ControlSocket::receive(Deadline deadline, const AbortSignal& abort) const {
  CKPT_RETURN_IF_ERROR(wait_until_ready(fd_.get(), POLLIN, deadline, abort, "control message"));
  ControlMessage message;
  message.text.resize(kMaxMessage);
  iovec part{message.text.data(), message.text.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxFds * sizeof(int))> buffer{};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = buffer.data();
  header.msg_controllen = buffer.size();
  CKPT_FAULT_POINT("sys.recvmsg");
  ssize_t size = -1;
  do size = ::recvmsg(fd_.get(), &header, MSG_CMSG_CLOEXEC);
  while (size < 0 && errno == EINTR);
  if (size < 0 && errno != ECONNRESET) return errno_status(errno, "recvmsg on the control socket", Scope::peer);
  if (size <= 0) return gone();
  message.fds = take_fds(header);
  if ((header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) return Status(StatusCode::internal, Scope::process, "a control message was cut");
  message.text.resize(static_cast<std::size_t>(size));
  return message;
}

}  // namespace ckpt
