#include "holder/memory_room.h"

#include "base/bytes.h"

namespace ckpt {

MemoryBound memory_room() {
  MemoryBound room = hard_memory_bound();
  if (const std::uint64_t available = available_memory(); available < room.bytes) room = {available, "MemAvailable"};
  return room;
}

Status check_room_for_weights(std::uint64_t one_copy_bytes, bool in_place, const MemoryBound& room) {
  const auto needed = in_place ? std::optional(one_copy_bytes) : checked_multiply(one_copy_bytes, 2);
  if (needed && *needed <= room.bytes) return Status::success();
  const std::uint64_t missing = needed ? *needed - room.bytes : ~std::uint64_t{0};
  const bool one_fits = !in_place && one_copy_bytes <= room.bytes;
  return Status(StatusCode::resource_exhausted, Scope::process, "{} of weights{} need {} bytes; {} bytes are free by {}: {} bytes are missing",
                format_bytes(one_copy_bytes), in_place ? "" : " and the second copy that an update is staged in", needed.value_or(~std::uint64_t{0}),
                room.bytes, room.limit, missing)
      .advise(one_fits ? "free memory, raise the bound, or give the second copy up with --in-place: a failed update then leaves nothing whole"
                       : "free memory, raise the bound, or spread the model over more hosts");
}

}  // namespace ckpt
