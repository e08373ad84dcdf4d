#include "holder/arena.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <utility>

#include "base/bytes.h"
#include "base/fault_point.h"
#include "holder/copy_crew.h"
#include "os/error.h"

namespace ckpt {
namespace {

constexpr std::uint64_t kPopulateChunk = 32 * MiB;
constexpr std::uint64_t kPage = 4096;

// One page after the other, where the kernel has no MADV_POPULATE_WRITE (before 5.14). Atomic, so that content stays and no optimiser drops it.
void touch_pages(std::byte* data, std::uint64_t bytes) {
  for (std::uint64_t offset = 0; offset < bytes; offset += kPage)
    std::atomic_ref<unsigned char>(*reinterpret_cast<unsigned char*>(data + offset)).fetch_or(0, std::memory_order_relaxed);
}

int populate_chunk(std::byte* data, std::uint64_t bytes) {
#if defined(MADV_POPULATE_WRITE)
  if (::madvise(data, bytes, MADV_POPULATE_WRITE) == 0) return 0;
  if (errno != EINVAL) return errno;
#endif
  touch_pages(data, bytes);
  return 0;
}

}  // namespace

Result<UniqueFd> create_arena_memory(const std::string& name, std::uint64_t bytes) {
  CKPT_FAULT_POINT("sys.memfd_create");
  UniqueFd fd(::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return errno_status(errno, "memfd_create " + name);
  CKPT_FAULT_POINT("sys.ftruncate");
  if (::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) return errno_status(errno, fmt::format("ftruncate {} to {} bytes", name, bytes));
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) return errno_status(errno, "seal " + name);
  return fd;
}

Result<Arena> Arena::map(UniqueFd fd, std::uint64_t bytes) {
  struct stat info {};
  CKPT_FAULT_POINT("sys.fstat");
  if (::fstat(fd.get(), &info) != 0) return errno_status(errno, "fstat of an arena");
  if (static_cast<std::uint64_t>(info.st_size) != bytes)
    return Status(StatusCode::data_corruption, Scope::process, "an arena of {} bytes where {} are needed", info.st_size, bytes);
  CKPT_FAULT_POINT("sys.mmap");
  void* data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (data == MAP_FAILED) return errno_status(errno, fmt::format("mmap of an arena of {} bytes", bytes));
  ::madvise(data, bytes, MADV_HUGEPAGE);  // refused where shared memory may have no huge pages: slower, not wrong
  return Arena(std::move(fd), static_cast<std::byte*>(data), bytes);
}

Arena::Arena(Arena&& other) noexcept
    : fd_(std::move(other.fd_)), data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

Arena::~Arena() {
  if (data_ != nullptr) ::munmap(data_, bytes_);
}

Status Arena::populate(unsigned threads) const {
  CKPT_FAULT_POINT("sys.madvise");
  CopyCrew crew(threads);
  std::atomic<int> error = 0;
  crew.run((bytes_ + kPopulateChunk - 1) / kPopulateChunk, [&](std::size_t chunk) {
    const std::uint64_t offset = chunk * kPopulateChunk;
    if (const int code = populate_chunk(data_ + offset, std::min(kPopulateChunk, bytes_ - offset)); code != 0) error = code;
  });
  if (error == 0) return Status::success();
  return errno_status(error, fmt::format("taking {} bytes of memory for weights", bytes_))
      .advise("free memory, raise the container's limit, or use --in-place");
}

}  // namespace ckpt
