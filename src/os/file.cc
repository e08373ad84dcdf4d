#include "os/file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "base/fault_point.h"
#include "os/error.h"

namespace ckpt {
namespace {

Result<UniqueFd> open_path(const std::string& path) {
  CKPT_FAULT_POINT("sys.open");
  // Without O_NONBLOCK a pipe in a shard's place would block the open for ever.
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return errno_status(errno, "open " + path);
  return fd;
}

}  // namespace

Result<File> File::open_for_reading(const std::string& path) {
  CKPT_ASSIGN_OR_RETURN(UniqueFd fd, open_path(path));
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return errno_status(errno, "stat " + path);
  if (S_ISDIR(info.st_mode)) return Status(StatusCode::failed_precondition, Scope::operation, "{} is a folder, not a file", path);
  if (!S_ISREG(info.st_mode)) return Status(StatusCode::failed_precondition, Scope::operation, "{} is no regular file", path);
  const std::int64_t modified_ns = static_cast<std::int64_t>(info.st_mtim.tv_sec) * 1'000'000'000 + info.st_mtim.tv_nsec;
  return File(std::move(fd), path, static_cast<std::uint64_t>(info.st_size), modified_ns);
}

Status File::read_all(std::uint64_t offset, std::span<std::byte> into) const {
  CKPT_FAULT_POINT("sys.read");
  while (!into.empty()) {
    const ssize_t got = ::pread(fd_.get(), into.data(), into.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_status(errno, fmt::format("read {} at offset {}", path_, offset));
    if (got == 0) return {StatusCode::data_corruption, Scope::operation, "{} ends at offset {}, {} bytes short", path_, offset, into.size()};
    into = into.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
  return Status::success();
}

Result<Bytes> read_small_file(const std::string& path, std::uint64_t max_bytes) {
  CKPT_ASSIGN_OR_RETURN(const UniqueFd fd, open_path(path));
  CKPT_FAULT_POINT("sys.read");
  Bytes bytes;
  std::byte chunk[16384];
  for (;;) {
    const ssize_t got = ::read(fd.get(), chunk, sizeof chunk);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_status(errno, "read " + path);
    if (got == 0) return bytes;
    if (bytes.size() + static_cast<std::uint64_t>(got) > max_bytes)
      return Status(StatusCode::resource_exhausted, Scope::operation, "{} is longer than {} bytes", path, max_bytes);
    bytes.insert(bytes.end(), chunk, chunk + got);
  }
}

}  // namespace ckpt
