/// Socket addresses from text: host names within a deadline, Unix paths within the system's bounds.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/deadline.h"
#include "ckpt/result.h"
#include "os/abort_signal.h"

namespace ckpt {

/// An address as the system takes it.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t bytes = 0;
  [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  [[nodiscard]] int family() const { return storage.ss_family; }
  [[nodiscard]] bool is_loopback() const;
  [[nodiscard]] std::uint16_t port() const;     ///< 0 for Unix addresses
  [[nodiscard]] std::string to_string() const;  ///< "127.0.0.1:80", "[::1]:80", "/path", "@name"
};

/// "host:port", with brackets around an IPv6 literal.
[[nodiscard]] std::string host_and_port(const std::string& host, std::uint16_t port);

/// All addresses of `host`, at least one. Literals are read at once; names are looked up on a thread of their own, so that the deadline holds even
/// where the resolver hangs. not_found: no such host.
[[nodiscard]] Result<std::vector<SocketAddress>> resolve(const std::string& host, std::uint16_t port, Deadline deadline, const AbortSignal& abort);

/// "/path" or "@abstract". invalid_argument: empty, with a NUL, or longer than 107 bytes.
[[nodiscard]] Result<SocketAddress> unix_address(const std::string& path);

}  // namespace ckpt
