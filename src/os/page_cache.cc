#include "os/page_cache.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <vector>

#include "base/bytes.h"
#include "os/memory.h"

namespace ckpt {
namespace {

bool mincore_tells_the_truth(const File& file) {
  struct stat info {};
  if (::fstat(file.fd(), &info) != 0) return false;
  return info.st_uid == ::geteuid() || ::faccessat(AT_FDCWD, file.path().c_str(), W_OK, AT_EACCESS) == 0;
}

/// A number that differs at each call: splitmix64 of a counter.
std::uint64_t any_number() {
  static std::atomic<std::uint64_t> calls{static_cast<std::uint64_t>(::getpid())};
  std::uint64_t z = (calls += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

}  // namespace

PageCache::PageCache(const File& file) : fd_(file.fd()) {
  if (file.bytes() == 0 || !mincore_tells_the_truth(file)) return;
  Result<Mapping> mapping = Mapping::shared(file.fd(), file.bytes(), Access::read_only);
  if (mapping.ok()) pages_ = std::move(mapping).value();
}

bool PageCache::holds(std::uint64_t offset, std::uint64_t bytes) const { return pages_.data() ? counted(offset, bytes) : sampled(offset, bytes); }

bool PageCache::counted(std::uint64_t offset, std::uint64_t bytes) const {
  const std::uint64_t begin = align_down(offset, kPageBytes);
  const std::uint64_t end = std::min(align_up(offset + bytes, kPageBytes), align_up(pages_.bytes(), kPageBytes));
  if (begin >= end) return false;
  std::vector<unsigned char> in_core((end - begin) / kPageBytes);
  if (::mincore(pages_.data() + begin, end - begin, in_core.data()) != 0) return false;
  const auto present = static_cast<std::size_t>(std::count_if(in_core.begin(), in_core.end(), [](unsigned char page) { return (page & 1) != 0; }));
  return present * 10 >= in_core.size() * 9;
}

bool PageCache::sampled(std::uint64_t offset, std::uint64_t bytes) const {
  constexpr int kSamples = 8;
  for (int i = 0; i < kSamples; ++i) {
    char byte = 0;
    iovec part{&byte, 1};
    if (::preadv2(fd_, &part, 1, static_cast<off_t>(offset + any_number() % bytes), RWF_NOWAIT) != 1) return false;
  }
  return true;
}

}  // namespace ckpt
