#include "hostpool/registered_memory.h"

#include <algorithm>

namespace ckpt {

RegisteredMemory::RegisteredMemory(Device& device, std::span<std::byte> memory, Access access)
    : device_(device), memory_(memory), access_(access), pieces_((memory.size() + kPieceBytes - 1) / kPieceBytes) {}

RegisteredMemory::~RegisteredMemory() {
  for (std::size_t i = 0; i < pieces_.size(); ++i)
    if (pieces_[i].registered) device_.unregister_host(memory_of(i));
}

void RegisteredMemory::expect(std::uint64_t offset_bytes, std::uint64_t bytes) {
  for (std::size_t i = offset_bytes / kPieceBytes; i <= (offset_bytes + bytes - 1) / kPieceBytes; ++i) ++pieces_[i].awaited;
}

Status RegisteredMemory::arrived(std::uint64_t offset_bytes, std::uint64_t bytes) {
  for (std::size_t i = offset_bytes / kPieceBytes; i <= (offset_bytes + bytes - 1) / kPieceBytes; ++i) {
    if (--pieces_[i].awaited != 0) continue;
    CKPT_RETURN_IF_ERROR(device_.register_host(memory_of(i), access_));
    pieces_[i].registered = true;
  }
  return Status::success();
}

std::span<std::byte> RegisteredMemory::memory_of(std::size_t piece) const {
  return memory_.subspan(piece * kPieceBytes, std::min<std::uint64_t>(kPieceBytes, memory_.size() - piece * kPieceBytes));
}

}  // namespace ckpt
