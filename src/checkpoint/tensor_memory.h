/// Tensors in the caller's memory as a checkpoint: what a training process registers. Its "file" is laid out here and exists nowhere.
///
///   image    |t0 |pad|t1     |pad|t2|      each at a multiple of 256, in the order given
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "ckpt/result.h"

namespace ckpt {

/// A tensor that somebody else owns: row-major, without gaps.
struct MemoryTensor {
  Parameter parameter;
  std::span<const std::byte> bytes;  ///< parameter.bytes of them
  bool on_device = false;            ///< a GPU's addresses
};

/// The image of the tensors of one share. Borrows their memory. Thread-safe.
class TensorMemory {
 public:
  struct Piece {
    std::uint64_t offset_bytes;
    std::span<const std::byte> bytes;
    bool on_device;
  };
  /// A part of the image that only the device can copy.
  struct DevicePart {
    std::span<std::byte> into;
    const std::byte* from;
  };
  /// `pieces` by rising offset, not overlapping.
  explicit TensorMemory(std::vector<Piece> pieces) : pieces_(std::move(pieces)) {}

  /// Fills `into` with the image from `offset` on, zeros between the tensors, but for what lies on a device: that is returned.
  [[nodiscard]] std::vector<DevicePart> read(std::uint64_t offset, std::span<std::byte> into) const;

 private:
  std::vector<Piece> pieces_;
};

/// Adds `tensors` to `share` as one more file. invalid_argument names the tensor that has no name, no UTF-8 in it, or other bytes than dtype and
/// shape make; already_exists the one whose name is there twice. On an error `share` is as before.
[[nodiscard]] Status add_tensors(std::span<const MemoryTensor> tensors, Checkpoint& share);

}  // namespace ckpt
