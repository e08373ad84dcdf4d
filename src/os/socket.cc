#include "os/socket.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <limits>

#include "base/fault_point.h"
#include "os/error.h"
#include "os/socket_address.h"
#include "os/wait_fd.h"

namespace ckpt {
namespace {

Status closed_by_peer() { return {StatusCode::unavailable, Scope::peer, "receive: the peer closed the connection"}; }

bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK; }

Result<Socket> connect_to(const SocketAddress& address, Deadline deadline, const AbortSignal& abort) {
  const std::string what = "connect to " + address.to_string();
  CKPT_FAULT_POINT("sys.socket");
  UniqueFd fd(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return errno_status(errno, what);
  CKPT_FAULT_POINT("sys.connect");
  if (::connect(fd.get(), address.get(), address.bytes) != 0) {
    // A Unix socket whose backlog is full says EAGAIN and stays unconnected: that is a refusal, not a connection under way.
    if (errno == EAGAIN) return Status(StatusCode::unavailable, Scope::peer, "{}: its queue of connections is full", what);
    if (errno != EINPROGRESS) return errno_status(errno, what, Scope::peer);
    CKPT_RETURN_IF_ERROR(wait_until_ready(fd.get(), POLLOUT, deadline, abort, what));
    int error = 0;
    socklen_t size = sizeof error;
    if (::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
    if (error != 0) return errno_status(error, what, Scope::peer);
  }
  const int on = 1;
  if (address.family() != AF_UNIX && ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) return errno_status(errno, what);
  return Socket(std::move(fd));
}

}  // namespace

Result<Socket> Socket::connect_tcp(const std::string& host, std::uint16_t port, Deadline deadline, const AbortSignal& abort) {
  CKPT_ASSIGN_OR_RETURN(const std::vector<SocketAddress> addresses, resolve(host, port, deadline, abort));
  Status first;
  for (const SocketAddress& address : addresses) {
    Result<Socket> socket = connect_to(address, deadline, abort);
    if (socket.ok()) return socket;
    if (first.ok()) first = socket.status();
    if (deadline.passed() || abort.triggered()) break;
  }
  return first;
}

Result<Socket> Socket::connect_unix(const std::string& path, Deadline deadline, const AbortSignal& abort) {
  CKPT_ASSIGN_OR_RETURN(const SocketAddress address, unix_address(path));
  return connect_to(address, deadline, abort);
}

void Socket::shutdown() noexcept {
  if (fd_.valid()) ::shutdown(fd_.get(), SHUT_RDWR);
}

Status Socket::send_all(std::span<const std::byte> bytes, Deadline deadline, const AbortSignal& abort) {
  while (!bytes.empty()) {
    CKPT_FAULT_POINT("sys.send");
    const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent >= 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(sent));
    } else if (would_block(errno)) {
      CKPT_RETURN_IF_ERROR(wait_until_ready(fd_.get(), POLLOUT, deadline, abort, "send"));
    } else if (errno != EINTR) {
      return errno_status(errno, "send", Scope::peer);
    }
  }
  return Status::success();
}

Result<std::optional<std::size_t>> Socket::receive_now(std::span<std::byte> bytes) {
  while (true) {
    CKPT_FAULT_POINT("sys.recv");
    const ssize_t received = ::recv(fd_.get(), bytes.data(), bytes.size(), 0);
    if (received >= 0) return std::optional<std::size_t>(static_cast<std::size_t>(received));
    if (would_block(errno)) return std::optional<std::size_t>();
    if (errno != EINTR) return errno_status(errno, "receive", Scope::peer);
  }
}

Result<std::size_t> Socket::receive_some(std::span<std::byte> bytes, Deadline deadline, const AbortSignal& abort) {
  while (true) {
    CKPT_ASSIGN_OR_RETURN(const std::optional<std::size_t> received, receive_now(bytes));
    if (received) return *received;
    CKPT_RETURN_IF_ERROR(wait_until_ready(fd_.get(), POLLIN, deadline, abort, "receive"));
  }
}

Status Socket::receive_all(std::span<std::byte> bytes, Deadline deadline, const AbortSignal& abort) {
  while (!bytes.empty()) {
    CKPT_ASSIGN_OR_RETURN(const std::size_t received, receive_some(bytes, deadline, abort));
    if (received == 0) return closed_by_peer();
    bytes = bytes.subspan(received);
  }
  return Status::success();
}

Status Socket::send_frame(std::span<const std::byte> bytes, Deadline deadline, const AbortSignal& abort) {
  if (bytes.size() > std::numeric_limits<std::uint32_t>::max())
    return {StatusCode::invalid_argument, Scope::operation, "send a frame of {} bytes: the length has 32 bits", bytes.size()};
  std::byte length[4];
  for (unsigned i = 0; i < 4; ++i) length[i] = static_cast<std::byte>(bytes.size() >> (8 * i));
  CKPT_RETURN_IF_ERROR(send_all(length, deadline, abort));
  return send_all(bytes, deadline, abort);
}

Result<Bytes> Socket::receive_frame(std::size_t max_bytes, Deadline deadline, const AbortSignal& abort) {
  std::byte length[4];
  CKPT_RETURN_IF_ERROR(receive_all(length, deadline, abort));
  std::uint32_t size = 0;
  for (unsigned i = 0; i < 4; ++i) size |= static_cast<std::uint32_t>(length[i]) << (8 * i);
  if (size > max_bytes)
    return Status(StatusCode::data_corruption, Scope::peer, "receive: a frame of {} bytes is announced, the limit is {}", size, max_bytes);
  Bytes bytes(size);
  CKPT_RETURN_IF_ERROR(receive_all(bytes, deadline, abort));
  return bytes;
}

}  // namespace ckpt
