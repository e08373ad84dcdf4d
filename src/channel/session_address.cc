#include "channel/session_address.h"

#include <unistd.h>

#include "channel/runtime_dir.h"

namespace ckpt {
namespace {

constexpr std::string_view kScheme = "ipc://";
constexpr std::string_view kFdSuffix = ".fd";
constexpr std::string_view kNativeSuffix = ".native";
constexpr std::size_t kMaxSocketPath = 107;

SessionAddress address_of(const std::string& stem) { return {std::string(kScheme) + stem, stem + std::string(kFdSuffix)}; }

}  // namespace

std::string native_endpoint(const std::string& endpoint) {
  return endpoint.starts_with(kScheme) ? endpoint + std::string(kNativeSuffix) : std::string();
}

Result<SessionAddress> make_session_address(const std::string& socket_dir) {
  CKPT_ASSIGN_OR_RETURN(const std::string name, unguessable_name());
  if (socket_dir == "abstract") return address_of("@ckpt-" + name);
  CKPT_ASSIGN_OR_RETURN(const std::string directory, absolute_path(socket_dir));
  CKPT_RETURN_IF_ERROR(make_private_dir(directory));
  const SessionAddress address = address_of(directory + "/" + name);
  if (directory.size() + 1 + name.size() + kNativeSuffix.size() > kMaxSocketPath)
    return Status(StatusCode::invalid_argument, Scope::operation, "socket directory {} is too long: a Unix socket's path has at most {} bytes",
                  directory, kMaxSocketPath)
        .advise("give a shorter --socket-dir");
  return address;
}

void remove_session_files(const std::string& endpoint) {
  if (!endpoint.starts_with("ipc:///")) return;
  const std::string path = endpoint.substr(kScheme.size());
  ::unlink(path.c_str());
  ::unlink((path + std::string(kFdSuffix)).c_str());
  ::unlink((path + std::string(kNativeSuffix)).c_str());
}

}  // namespace ckpt
