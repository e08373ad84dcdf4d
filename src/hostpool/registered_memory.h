/// Host memory that the device learns of piece by piece, each as soon as its bytes are there: registering goes on while the rest is read.
///
///   memory   |piece 0: 256 MiB|piece 1: 256 MiB|piece 2|      a copy's source lies in one: runs are cut at borders
///   chunks   |a |b |c |d |e |f |g |h |i |j |k |           arrive in any order, from several threads
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "device/device.h"

namespace ckpt {

/// Borrows the memory, which must outlive it; unregisters at its end what was registered.
class RegisteredMemory {
 public:
  RegisteredMemory(Device& device, std::span<std::byte> memory, Access access);
  ~RegisteredMemory();
  RegisteredMemory(const RegisteredMemory&) = delete;
  RegisteredMemory& operator=(const RegisteredMemory&) = delete;

  /// These bytes (> 0) will arrive. Before the first arrival; one thread.
  void expect(std::uint64_t offset_bytes, std::uint64_t bytes);
  /// They are there: registers every piece that waits for nothing more. Thread-safe.
  [[nodiscard]] Status arrived(std::uint64_t offset_bytes, std::uint64_t bytes);

  static constexpr std::uint64_t kPieceBytes = 256u << 20;
  /// From `offset_bytes` to the end of its piece: kPieceBytes at its start.
  [[nodiscard]] static std::uint64_t bytes_to_border(std::uint64_t offset_bytes) { return kPieceBytes - offset_bytes % kPieceBytes; }

 private:
  struct Piece {
    std::atomic<std::uint32_t> awaited{0};
    std::atomic<bool> registered{false};
  };
  [[nodiscard]] std::span<std::byte> memory_of(std::size_t piece) const;

  Device& device_;
  std::span<std::byte> memory_;
  Access access_;
  std::vector<Piece> pieces_;
};

}  // namespace ckpt
