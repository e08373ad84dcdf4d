#include "holder/front_memory.h"

#include <unistd.h>

#include <cerrno>

#include "base/fault_point.h"
#include "os/error.h"
#include "os/shared_memory.h"

namespace ckpt {
namespace {

Status write_all(int fd, const Bytes& bytes) {
  for (std::size_t done = 0; done < bytes.size();) {
    CKPT_FAULT_POINT("sys.pwrite");
    const ssize_t written = ::pwrite(fd, bytes.data() + done, bytes.size() - done, static_cast<off_t>(done));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return errno_status(errno, "writing the model for the workers");
    done += static_cast<std::size_t>(written);
  }
  return Status::success();
}

Status read_all(int fd, std::span<std::uint64_t> values, std::uint64_t offset) {
  auto* bytes = reinterpret_cast<char*>(values.data());
  for (std::size_t done = 0; done < values.size_bytes();) {
    CKPT_FAULT_POINT("sys.pread");
    const ssize_t size = ::pread(fd, bytes + done, values.size_bytes() - done, static_cast<off_t>(offset + done));
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return errno_status(size == 0 ? EIO : errno, "reading the digests of a worker");
    done += static_cast<std::size_t>(size);
  }
  return Status::success();
}

}  // namespace

Result<FrontMemory> FrontMemory::create(const HolderModel& model, std::span<const WorkerLayout> layouts, bool in_place) {
  FrontMemory memory;
  const Bytes encoded = encode_model(model);
  memory.model_bytes = encoded.size();
  CKPT_ASSIGN_OR_RETURN(memory.model, create_memfd("ckpt-engine model", encoded.size()));
  CKPT_RETURN_IF_ERROR(write_all(memory.model.get(), encoded));
  for (std::size_t rank = 0; rank < layouts.size(); ++rank) {
    std::vector<UniqueFd>& arenas = memory.arenas.emplace_back();
    for (int i = 0; i < (in_place ? 1 : 2); ++i) {
      CKPT_ASSIGN_OR_RETURN(UniqueFd arena, create_memfd("ckpt-engine weights", layouts[rank].arena_bytes));
      arenas.push_back(std::move(arena));
    }
  }
  return memory;
}

Result<std::vector<std::vector<std::uint64_t>>> FrontMemory::read_digests(std::span<const WorkerLayout> layouts, std::uint32_t arena) const {
  std::vector<std::vector<std::uint64_t>> digests;
  for (std::size_t rank = 0; rank < layouts.size(); ++rank) {
    std::vector<std::uint64_t>& table = digests.emplace_back(layouts[rank].shards.size());
    CKPT_RETURN_IF_ERROR(read_all(arenas[rank][arena].get(), table, layouts[rank].digests_offset_bytes));
  }
  return digests;
}

}  // namespace ckpt
