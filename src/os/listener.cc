#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>

#include "base/fault_point.h"
#include "os/error.h"
#include "os/socket.h"
#include "os/socket_address.h"
#include "os/wait_fd.h"

namespace ckpt {
namespace {

constexpr int kBacklog = 256;

Result<UniqueFd> listen_on(const SocketAddress& address) {
  const std::string what = "listen on " + address.to_string();
  CKPT_FAULT_POINT("sys.socket");
  UniqueFd fd(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return errno_status(errno, what);
  const int on = 1;  // past connections of the port in TIME_WAIT do not matter; a second listener is still refused
  if (address.family() != AF_UNIX && ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) return errno_status(errno, what);
  CKPT_FAULT_POINT("sys.bind");
  if (::bind(fd.get(), address.get(), address.bytes) != 0) {
    const Status status = errno_status(errno, what);
    return errno == EADDRINUSE ? status.advise("another process listens there: end it, or choose another address") : status;
  }
  CKPT_FAULT_POINT("sys.listen");
  if (::listen(fd.get(), kBacklog) != 0) return errno_status(errno, what);
  return fd;
}

Result<std::uint16_t> bound_port(int fd) {
  SocketAddress address;
  address.bytes = sizeof address.storage;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address.storage), &address.bytes) != 0) return errno_status(errno, "read the bound port");
  return address.port();
}

}  // namespace

Listener::~Listener() {
  if (fd_.valid() && !path_.empty()) ::unlink(path_.c_str());
}

Result<Listener> Listener::tcp(const std::string& host, std::uint16_t port, Deadline deadline, const AbortSignal& abort) {
  CKPT_ASSIGN_OR_RETURN(const std::vector<SocketAddress> addresses, resolve(host, port, deadline, abort));
  Result<UniqueFd> fd = listen_on(addresses.front());
  for (std::size_t i = 1; i < addresses.size() && !fd.ok(); ++i) fd = listen_on(addresses[i]);
  if (!fd.ok()) return fd.status();
  Listener listener(std::move(fd).value());
  CKPT_ASSIGN_OR_RETURN(listener.port_, bound_port(listener.fd()));
  return listener;
}

Result<Listener> Listener::unix_path(const std::string& path) {
  CKPT_ASSIGN_OR_RETURN(const SocketAddress address, unix_address(path));
  CKPT_ASSIGN_OR_RETURN(UniqueFd fd, listen_on(address));
  Listener listener(std::move(fd));
  if (path[0] != '@') listener.path_ = path;
  return listener;
}

Result<std::optional<Socket>> Listener::accept_now() {
  while (true) {
    CKPT_FAULT_POINT("sys.accept");
    UniqueFd fd(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd.valid()) {
      const int on = 1;
      if (path_.empty() && port_ != 0) static_cast<void>(::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
      return std::optional<Socket>(Socket(std::move(fd)));
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) return std::optional<Socket>();
    if (errno != EINTR && errno != ECONNABORTED) return errno_status(errno, "accept a connection");
  }
}

Result<Socket> Listener::accept(Deadline deadline, const AbortSignal& abort) {
  while (true) {
    CKPT_ASSIGN_OR_RETURN(std::optional<Socket> socket, accept_now());
    if (socket) return std::move(*socket);
    CKPT_RETURN_IF_ERROR(wait_until_ready(fd_.get(), POLLIN, deadline, abort, "accept a connection"));
  }
}

}  // namespace ckpt
