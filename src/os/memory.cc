#include "os/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>

#include "base/bytes.h"
#include "base/fault_point.h"
#include "os/error.h"
#include "os/threads.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace ckpt {
namespace {

constexpr std::uint64_t kPart = 64 * MiB;
Status populate_part(std::span<std::byte> part) {
  CKPT_FAULT_POINT("sys.madvise");
  if (::madvise(part.data(), part.size(), MADV_POPULATE_WRITE) == 0) return Status::success();
  if (errno != EINVAL) return errno_status(errno == EFAULT ? ENOMEM : errno, fmt::format("populate {} bytes", part.size()));
  for (std::uint64_t at = 0; at < part.size(); at += kPageBytes) {
    volatile std::byte* page = part.data() + at;
    *page = *page;  // a write, whatever is there
  }
  return Status::success();
}

}  // namespace

Status map_pages(const std::byte* data, std::uint64_t bytes) {
  CKPT_FAULT_POINT("sys.madvise");
  // madvise takes no const pointer; nothing is written.
  if (::madvise(const_cast<std::byte*>(data), bytes, MADV_POPULATE_READ) == 0 || errno == EINVAL) return Status::success();
  if (errno == EFAULT) return {StatusCode::data_corruption, Scope::operation, "the file was cut while its {} bytes were mapped", bytes};
  return errno_status(errno, fmt::format("map {} bytes", bytes));
}

void wish_huge_pages(std::span<std::byte> memory) noexcept { ::madvise(memory.data(), memory.size(), MADV_HUGEPAGE); }

Status populate(std::span<std::byte> memory, unsigned threads) {
  const std::size_t parts = round_up(memory.size(), kPart) / kPart;
  return parallel_for(parts, threads, [&](std::size_t i) {
    return populate_part(memory.subspan(i * kPart, std::min<std::uint64_t>(kPart, memory.size() - i * kPart)));
  });
}

}  // namespace ckpt
