#include "holder/arena.h"

#include <sys/mman.h>

#include "os/memory.h"

namespace ckpt {

Result<Mapping> map_arena(int fd, std::uint64_t bytes) {
  CKPT_ASSIGN_OR_RETURN(const std::uint64_t size, size_of(fd));
  if (size != bytes) return Status(StatusCode::data_corruption, Scope::process, "an arena of {} bytes where {} are needed", size, bytes);
  CKPT_ASSIGN_OR_RETURN(Mapping mapping, Mapping::shared(fd, bytes, Access::read_write));
  ::madvise(mapping.data(), bytes, MADV_HUGEPAGE);  // refused where shared memory may have no huge pages: slower, not wrong
  return mapping;
}

Status take_memory(const Mapping& arena, unsigned threads) {
  return populate(arena.span(), threads)
      .with_note("taking {} bytes of memory for weights", arena.bytes())
      .advise("free memory, raise the container's limit, or start the engine with --in-place");
}

}  // namespace ckpt
