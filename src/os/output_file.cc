#include "os/output_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "base/fault_point.h"
#include "os/error.h"

namespace ckpt {

Result<OutputFile> OutputFile::create(const std::string& path) {
  CKPT_FAULT_POINT("sys.open");
  OutputFile file(UniqueFd(::open((path + ".partial").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)), path);
  if (!file.fd_.valid()) return errno_status(errno, "create " + file.partial_path());
  return file;
}

OutputFile::~OutputFile() {
  if (fd_.valid()) ::unlink(partial_path().c_str());
}

Status OutputFile::write(std::span<const std::byte> bytes) {
  CKPT_FAULT_POINT("sys.write");
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd_.get(), bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return errno_status(errno, fmt::format("write {} at offset {}", path_, written_bytes_));
    bytes = bytes.subspan(static_cast<std::size_t>(put));
    written_bytes_ += static_cast<std::uint64_t>(put);
  }
  return Status::success();
}

Status OutputFile::commit() {
  CKPT_FAULT_POINT("sys.rename");
  if (std::rename(partial_path().c_str(), path_.c_str()) != 0) return errno_status(errno, fmt::format("rename {} to {}", partial_path(), path_));
  if (::close(fd_.release()) != 0) return errno_status(errno, "close " + path_);
  return Status::success();
}

Status write_small_file(const std::string& path, std::string_view text) {
  CKPT_ASSIGN_OR_RETURN(OutputFile file, OutputFile::create(path));
  CKPT_RETURN_IF_ERROR(file.write(std::as_bytes(std::span(text))));
  return file.commit();
}

}  // namespace ckpt
