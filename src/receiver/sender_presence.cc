#include "receiver/sender_presence.h"

#include <sys/socket.h>

#include <cerrno>
#include <fstream>

#include "os/socket_address.h"
#include "os/unique_fd.h"

namespace ckpt {
namespace {

// A connection would show up at the sender as a peer that came and went. A connect of another socket type is refused by the kernel before it reaches
// anybody, and the error tells: EPROTOTYPE when a stream socket is bound to the file, ECONNREFUSED when none is any more. Unlike /proc/net/unix this
// also works from another network namespace.
bool path_is_bound(const std::string& path) {
  const Result<SocketAddress> address = unix_address(path);
  const UniqueFd probe(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!address.ok() || !probe.valid()) return true;
  if (::connect(probe.get(), address->get(), address->bytes) == 0) return true;
  return errno != ENOENT && errno != ECONNREFUSED;
}

// Abstract names are looked up together with the type, but live in this network namespace or cannot be reached at all.
bool name_is_bound(const std::string& name) {
  std::ifstream table("/proc/net/unix");
  if (!table) return true;
  for (std::string line; std::getline(table, line);)
    if (line.size() > name.size() && line.ends_with(" " + name)) return true;
  return false;
}

}  // namespace

bool somebody_listens(const std::string& address) {
  if (address.starts_with("ipc:///")) return path_is_bound(address.substr(6));
  if (address.starts_with("ipc://@")) return name_is_bound(address.substr(6));
  return true;
}

}  // namespace ckpt
