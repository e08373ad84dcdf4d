#include "os/socket_address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>
#include <thread>

#include "base/fault_point.h"
#include "os/error.h"
#include "os/threads.h"
#include "os/unique_fd.h"
#include "os/wait_fd.h"

namespace ckpt {
namespace {

/// One question to the resolver, shared by the asker and the thread that may outlive its patience.
struct Lookup {
  std::string host;
  UniqueFd done{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  int error = 0;  // of getaddrinfo; written before `done` becomes readable
  std::vector<SocketAddress> addresses;
};

void set_port(SocketAddress& address, std::uint16_t port) {
  if (address.family() == AF_INET) reinterpret_cast<sockaddr_in*>(&address.storage)->sin_port = htons(port);
  if (address.family() == AF_INET6) reinterpret_cast<sockaddr_in6*>(&address.storage)->sin6_port = htons(port);
}

int look_up(const std::string& host, int flags, std::vector<SocketAddress>& addresses) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags;
  addrinfo* list = nullptr;
  const int error = ::getaddrinfo(host.c_str(), nullptr, &hints, &list);
  for (const addrinfo* entry = list; error == 0 && entry != nullptr; entry = entry->ai_next) {
    SocketAddress address;
    std::memcpy(&address.storage, entry->ai_addr, entry->ai_addrlen);
    address.bytes = entry->ai_addrlen;
    addresses.push_back(address);
  }
  if (list != nullptr) ::freeaddrinfo(list);
  return error;
}

Result<std::vector<SocketAddress>> look_up_within(const std::string& host, Deadline deadline, const AbortSignal& abort) {
  const auto lookup = std::make_shared<Lookup>();  // shared: a resolver that hangs keeps its question after the deadline
  lookup->host = host;
  if (!lookup->done.valid()) return errno_status(errno, "look up host " + host);
  CKPT_ASSIGN_OR_RETURN(std::thread resolver, start_thread("look up a host's name", [lookup] {
                          lookup->error = look_up(lookup->host, 0, lookup->addresses);
                          const std::uint64_t one = 1;
                          static_cast<void>(!::write(lookup->done.get(), &one, sizeof one));
                        }));
  resolver.detach();
  CKPT_RETURN_IF_ERROR(wait_until_ready(lookup->done.get(), POLLIN, deadline, abort, "look up host " + host));
  std::uint64_t one = 0;
  static_cast<void>(!::read(lookup->done.get(), &one, sizeof one));
  if (lookup->error != 0)
    return Status(StatusCode::not_found, Scope::operation, "look up host {}: {}", host, ::gai_strerror(lookup->error))
        .advise("check the name, or give an address in numbers");
  return std::move(lookup->addresses);
}

}  // namespace

bool SocketAddress::is_loopback() const {
  if (family() == AF_UNIX) return true;
  if (family() == AF_INET) return (ntohl(reinterpret_cast<const sockaddr_in*>(&storage)->sin_addr.s_addr) >> 24) == 127;
  return family() == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_addr);
}

std::uint16_t SocketAddress::port() const {
  if (family() == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in*>(&storage)->sin_port);
  if (family() == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_port);
  return 0;
}

std::string SocketAddress::to_string() const {
  if (family() == AF_UNIX) {
    std::string path(reinterpret_cast<const sockaddr_un*>(&storage)->sun_path, bytes - offsetof(sockaddr_un, sun_path));
    if (!path.empty() && path[0] == '\0') path[0] = '@';
    return path;
  }
  char text[NI_MAXHOST] = "?";
  static_cast<void>(::getnameinfo(get(), bytes, text, sizeof text, nullptr, 0, NI_NUMERICHOST));
  return host_and_port(text, port());
}

std::string host_and_port(const std::string& host, std::uint16_t port) {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port) : fmt::format("[{}]:{}", host, port);
}

Result<std::vector<SocketAddress>> resolve(const std::string& host, std::uint16_t port, Deadline deadline, const AbortSignal& abort) {
  CKPT_FAULT_POINT("sys.getaddrinfo");
  std::vector<SocketAddress> addresses;
  if (look_up(host, AI_NUMERICHOST, addresses) != 0) {
    CKPT_ASSIGN_OR_RETURN(addresses, look_up_within(host, deadline, abort));
  }
  for (SocketAddress& address : addresses) set_port(address, port);
  if (addresses.empty()) return Status(StatusCode::not_found, Scope::operation, "look up host {}: it has no address", host);
  return addresses;
}

Result<SocketAddress> unix_address(const std::string& path) {
  SocketAddress address;
  auto* native = reinterpret_cast<sockaddr_un*>(&address.storage);
  native->sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof native->sun_path || path.find('\0') != std::string::npos)
    return Status(StatusCode::invalid_argument, Scope::operation, "socket path \"{}\": it must have from 1 to {} bytes and no NUL", path,
                  sizeof native->sun_path - 1)
        .advise("choose a shorter directory");
  std::memcpy(native->sun_path, path.data(), path.size());
  address.bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  if (path[0] == '@') native->sun_path[0] = '\0';
  return address;
}

}  // namespace ckpt
