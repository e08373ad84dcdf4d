#include "os/direct_io.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cerrno>

#include "base/fault_point.h"
#include "os/error.h"

namespace ckpt {
namespace {

bool on_tmpfs(const File& file) {
  struct statfs system {};
  return ::fstatfs(file.fd(), &system) == 0 && system.f_type == TMPFS_MAGIC;
}

Result<UniqueFd> open_direct(const std::string& path) {
  CKPT_FAULT_POINT("sys.open");
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT));
  if (!fd.valid()) return errno_status(errno, "open " + path);
  return fd;
}

}  // namespace

Result<DirectFile> DirectFile::open(const std::string& path) {
  CKPT_ASSIGN_OR_RETURN(File file, File::open_for_reading(path));
  const bool in_memory = on_tmpfs(file);
  UniqueFd direct;
  if (!in_memory) {
    Result<UniqueFd> opened = open_direct(path);
    if (opened.ok()) direct = std::move(opened).value();  // else the file system does not know direct reads: all are buffered
  }
  return DirectFile(std::move(file), std::move(direct), in_memory);
}

Status DirectFile::read(std::uint64_t offset, std::span<std::byte> into, bool* direct) const {
  if (into.empty()) return Status::success();
  const bool aligned = offset % kAlignment == 0 && reinterpret_cast<std::uintptr_t>(into.data()) % kAlignment == 0;
  *direct = direct_.valid() && aligned && !page_cache_.holds(offset, into.size());
  if (!*direct) return file_.read_all(offset, into);
  return read_direct(offset, into);
}

Status DirectFile::read_direct(std::uint64_t offset, std::span<std::byte> into) const {
  CKPT_FAULT_POINT("sys.read");
  while (into.size() >= kAlignment) {
    const std::size_t whole = into.size() / kAlignment * kAlignment;
    const ssize_t got = ::pread(direct_.get(), into.data(), whole, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EINVAL) break;  // this file system wants another alignment
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
