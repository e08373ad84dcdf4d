#include "os/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cerrno>

#include "base/bytes.h"
#include "base/fault_point.h"
#include "os/error.h"
#include "os/memory.h"

namespace ckpt {
namespace {

constexpr std::uint64_t kHugePage = 2 * MiB;

/// ftruncate beyond RLIMIT_FSIZE kills the process by SIGXFSZ: refused before.
Status check_file_size_limit(std::uint64_t bytes) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || bytes <= limit.rlim_cur) return Status::success();
  return Status(StatusCode::resource_exhausted, Scope::operation, "shared memory of {} bytes: RLIMIT_FSIZE allows {}: {} bytes are missing", bytes,
                limit.rlim_cur, bytes - limit.rlim_cur)
      .advise("ulimit -f unlimited");
}

Status unmapped(std::uint64_t bytes) { return errno_status(errno, fmt::format("map {} bytes", bytes)); }

/// `bytes` (whole pages) of private memory at a multiple of 2 MiB: huge pages, of shared memory too, are mapped whole only where address and offset
/// agree modulo their size.
Result<std::byte*> reserve(std::uint64_t bytes) {
  void* raw = ::mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED) return unmapped(bytes);
  auto* begin = static_cast<std::byte*>(raw);
  const std::uint64_t before = align_up(reinterpret_cast<std::uint64_t>(begin), kHugePage) - reinterpret_cast<std::uint64_t>(begin);
  if (before > 0) ::munmap(begin, before);
  if (before < kHugePage) ::munmap(begin + before + bytes, kHugePage - before);
  return begin + before;
}

}  // namespace

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Mapping::~Mapping() {
  if (data_ != nullptr) ::munmap(data_, bytes_);
}

Result<Mapping> Mapping::shared(int fd, std::uint64_t bytes, Access access) {
  CKPT_FAULT_POINT("sys.mmap");
  const int protection = access == Access::read_only ? PROT_READ : PROT_READ | PROT_WRITE;
  void* place = nullptr;
  if (bytes >= kHugePage) {
    CKPT_ASSIGN_OR_RETURN(place, reserve(align_up(bytes, 4 * KiB)));
  }
  void* data = ::mmap(place, bytes, protection, MAP_SHARED | (place != nullptr ? MAP_FIXED : 0), fd, 0);
  if (data == MAP_FAILED) {
    const Status status = unmapped(bytes);
    if (place != nullptr) ::munmap(place, align_up(bytes, 4 * KiB));
    return status;
  }
  return Mapping(static_cast<std::byte*>(data), bytes);
}

Result<Mapping> Mapping::anonymous(std::uint64_t bytes) {
  CKPT_FAULT_POINT("sys.mmap");
  const std::uint64_t wanted = align_up(bytes, kHugePage);
  CKPT_ASSIGN_OR_RETURN(std::byte* const data, reserve(wanted));
  wish_huge_pages({data, wanted});
  return Mapping(data, wanted);
}

Result<UniqueFd> create_memfd(const char* name, std::uint64_t bytes) {
  CKPT_RETURN_IF_ERROR(check_file_size_limit(bytes));
  CKPT_FAULT_POINT("sys.memfd_create");
  UniqueFd fd(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return errno_status(errno, "create a memfd");
  CKPT_FAULT_POINT("sys.ftruncate");
  if (::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) return errno_status(errno, fmt::format("grow a memfd to {} bytes", bytes));
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) return errno_status(errno, "seal a memfd");
  return fd;
}

Result<std::uint64_t> size_of(int fd) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return errno_status(errno, "stat a descriptor");
  return static_cast<std::uint64_t>(info.st_size);
}

}  // namespace ckpt
