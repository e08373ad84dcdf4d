#include "os/fd_passing.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "base/fault_point.h"
#include "os/error.h"
#include "os/wait_fd.h"

namespace ckpt {
namespace {

bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

std::vector<UniqueFd> take_fds(const msghdr& message) {
  std::vector<UniqueFd> fds;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(const_cast<msghdr*>(&message), header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
      fds.emplace_back(fd);
    }
  }
  return fds;
}

}  // namespace

Status send_fds(int socket, std::span<const int> fds, std::string_view payload, Deadline deadline, const AbortSignal& abort) {
  CKPT_CHECK(fds.size() <= kMaxPassedFds && !payload.empty());
  CKPT_FAULT_POINT("sys.sendmsg");
  iovec part{const_cast<char*>(payload.data()), payload.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxPassedFds * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
  }
  for (;;) {
    const ssize_t sent = ::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent == static_cast<ssize_t>(payload.size())) return Status::success();
    if (sent >= 0) return {StatusCode::internal, Scope::peer, "pass descriptors: {} of {} bytes were sent", sent, payload.size()};
    if (!would_block(errno)) return errno_status(errno, "pass descriptors", Scope::peer);
    CKPT_RETURN_IF_ERROR(wait_until_ready(socket, POLLOUT, deadline, abort, "room to pass descriptors"));
  }
}

Result<ReceivedFds> receive_fds(int socket, std::size_t max_payload, Deadline deadline, const AbortSignal& abort) {
  CKPT_FAULT_POINT("sys.recvmsg");
  ReceivedFds received;
  received.payload.resize(max_payload);
  for (;;) {
    iovec part{received.payload.data(), received.payload.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(kMaxPassedFds * sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t got = ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got > 0) {
      received.fds = take_fds(message);
      if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0)
        return Status(StatusCode::data_corruption, Scope::peer, "a message with descriptors is longer than {} bytes or was cut", max_payload);
      received.payload.resize(static_cast<std::size_t>(got));
      return received;
    }
    if (got == 0) return Status(StatusCode::unavailable, Scope::peer, "the peer closed the socket that passes descriptors");
    if (!would_block(errno)) return errno_status(errno, "receive descriptors", Scope::peer);
    CKPT_RETURN_IF_ERROR(wait_until_ready(socket, POLLIN, deadline, abort, "descriptors from a peer"));
  }
}

}  // namespace ckpt
