#include "os/direct_io.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cerrno>

#include "base/fault_point.h"
#include "os/error.h"

namespace ckpt {

Result<DirectFile> DirectFile::open(const std::string& path) {
  CKPT_ASSIGN_OR_RETURN(File file, File::open_for_reading(path));
  struct statfs system {};
  const bool in_memory = ::fstatfs(file.fd(), &system) == 0 && system.f_type == TMPFS_MAGIC;
  UniqueFd direct(in_memory ? -1 : ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT));  // absent: everything is read buffered
  return DirectFile(std::move(file), std::move(direct), in_memory);
}

bool DirectFile::is_cached(std::uint64_t offset, std::uint64_t bytes) const {
  // A read that must not block says whether the page is there, without reading ahead. First, middle and last page stand for the range.
  for (const std::uint64_t at : {offset, offset + bytes / 2 / kAlignment * kAlignment, offset + (bytes - 1) / kAlignment * kAlignment}) {
    char byte = 0;
    iovec part{&byte, 1};
    if (::preadv2(file_.fd(), &part, 1, static_cast<off_t>(at), RWF_NOWAIT) != 1) return false;
  }
  return true;
}

Status DirectFile::read(std::uint64_t offset, std::span<std::byte> into, bool* direct) const {
  if (into.empty()) return Status::success();
  const bool aligned = offset % kAlignment == 0 && reinterpret_cast<std::uintptr_t>(into.data()) % kAlignment == 0;
  *direct = direct_.valid() && aligned && !is_cached(offset, into.size());
  if (!*direct) return file_.read_all(offset, into);
  return read_direct(offset, into);
}

Status DirectFile::read_direct(std::uint64_t offset, std::span<std::byte> into) const {
  CKPT_FAULT_POINT("sys.read");
  while (into.size() >= kAlignment) {
    const std::size_t whole = into.size() / kAlignment * kAlignment;
    const ssize_t got = ::pread(direct_.get(), into.data(), whole, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EINVAL) break;  // this file system wants more than 4096
    if (got < 0) return errno_status(errno, fmt::format("read {} at offset {}", file_.path(), offset));
    if (got == 0) break;
    into = into.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
    if (got % static_cast<ssize_t>(kAlignment) != 0) break;  // the end of the file
  }
  return into.empty() ? Status::success() : file_.read_all(offset, into);
}

Status DirectFile::check_unchanged() const {
  struct stat now {};
  if (::fstat(file_.fd(), &now) != 0) return errno_status(errno, "stat " + file_.path());
  const std::int64_t modified_ns = static_cast<std::int64_t>(now.st_mtim.tv_sec) * 1'000'000'000 + now.st_mtim.tv_nsec;
  if (static_cast<std::uint64_t>(now.st_size) == file_.bytes() && modified_ns == file_.modified_ns()) return Status::success();
  return Status(StatusCode::data_corruption, Scope::operation, "{} was changed while it was read", file_.path())
      .advise("write new checkpoints to a directory of their own");
}

}  // namespace ckpt
