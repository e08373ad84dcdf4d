#include "channel/runtime_dir.h"

#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>

#include "base/bytes.h"
#include "base/options.h"
#include "channel/bucket_session.h"
#include "os/error.h"

namespace ckpt {

Status make_private_dir(const std::string& path) {
  for (std::size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1))
    ::mkdir(path.substr(0, at).c_str(), 0700);  // parents: what counts is checked below
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return errno_status(errno, "make directory " + path);
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) return errno_status(errno, "stat " + path);
  if (!S_ISDIR(info.st_mode)) return {StatusCode::failed_precondition, Scope::operation, "{} is no directory", path};
  if (info.st_uid != ::geteuid() || (info.st_mode & 077) != 0)
    return Status(StatusCode::failed_precondition, Scope::operation, "{} belongs to user {} with mode {:o}: sockets in it would not be private", path,
                  info.st_uid, info.st_mode & 07777)
        .advise("remove it, or give a directory of your own with mode 0700 by --socket-dir or XDG_RUNTIME_DIR");
  return Status::success();
}

Result<std::string> absolute_path(const std::string& path) {
  std::error_code error;
  std::string absolute = std::filesystem::absolute(path, error).lexically_normal().string();
  if (path.empty() || error)
    return Status(StatusCode::invalid_argument, Scope::operation, "directory \"{}\" has no absolute path: {}", path, error.message());
  while (absolute.size() > 1 && absolute.ends_with('/')) absolute.pop_back();
  return absolute;
}

Result<std::string> unguessable_name() {
  std::array<unsigned char, 16> random{};
  if (::getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size())) return errno_status(errno, "get random bytes");
  return to_hex({reinterpret_cast<const char*>(random.data()), random.size()});
}

Result<std::string> default_runtime_dir() {
  const auto base = environment("XDG_RUNTIME_DIR");
  CKPT_ASSIGN_OR_RETURN(const std::string path, absolute_path(base ? *base + "/ckpt-engine" : fmt::format("/tmp/ckpt-engine-{}", ::geteuid())));
  CKPT_RETURN_IF_ERROR(make_private_dir(path));
  return path;
}

}  // namespace ckpt
