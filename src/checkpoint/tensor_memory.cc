#include "checkpoint/tensor_memory.h"

#include <simdjson.h>

#include <algorithm>
#include <cstring>
#include <unordered_set>

#include "base/bytes.h"
#include "checkpoint/printable.h"

namespace ckpt {
namespace {

Status check_tensor(const MemoryTensor& tensor) {
  const Parameter& parameter = tensor.parameter;
  if (parameter.name.empty()) return {StatusCode::invalid_argument, Scope::operation, "a tensor has no name"};
  if (!simdjson::validate_utf8(parameter.name)) return {StatusCode::invalid_argument, Scope::operation, "the name of a tensor is no UTF-8"};
  const std::optional<std::uint64_t> needed = tensor_bytes(parameter.dtype, parameter.shape);
  if (!needed || *needed != parameter.bytes || tensor.bytes.size() != parameter.bytes)
    return {
        StatusCode::invalid_argument, Scope::operation,      "tensor {}: {} bytes were given, and {} of its shape take {}", printable(parameter.name),
        tensor.bytes.size(),          name(parameter.dtype), needed ? std::to_string(*needed) : "more than there can be"};
  return Status::success();
}

Status check_tensors(std::span<const MemoryTensor> tensors, const Checkpoint& share) {
  std::unordered_set<std::string_view> names;
  for (const Parameter& parameter : share.parameters) names.insert(parameter.name);
  for (const MemoryTensor& tensor : tensors) {
    CKPT_RETURN_IF_ERROR(check_tensor(tensor));
    if (!names.insert(tensor.parameter.name).second)
      return {StatusCode::already_exists, Scope::operation, "tensor {} is in the share twice", printable(tensor.parameter.name)};
  }
  return Status::success();
}

}  // namespace

std::vector<TensorMemory::DevicePart> TensorMemory::read(std::uint64_t offset, std::span<std::byte> into) const {
  std::vector<DevicePart> on_device;
  if (into.empty()) return on_device;  // may lie nowhere, and memset takes no null pointer
  auto piece = std::upper_bound(pieces_.begin(), pieces_.end(), offset, [](std::uint64_t at, const Piece& one) { return at < one.offset_bytes; });
  if (piece != pieces_.begin()) --piece;
  std::uint64_t filled = 0;
  for (; piece != pieces_.end() && piece->offset_bytes < offset + into.size(); ++piece) {
    const std::uint64_t begin = std::max(piece->offset_bytes, offset);
    const std::uint64_t end = std::min(piece->offset_bytes + piece->bytes.size(), offset + into.size());
    if (begin >= end) continue;
    std::memset(into.data() + filled, 0, begin - offset - filled);
    const std::byte* from = piece->bytes.data() + (begin - piece->offset_bytes);
    if (piece->on_device)
      on_device.push_back({into.subspan(begin - offset, end - begin), from});
    else
      std::memcpy(into.data() + (begin - offset), from, end - begin);
    filled = end - offset;
  }
  std::memset(into.data() + filled, 0, into.size() - filled);
  return on_device;
}

Status add_tensors(std::span<const MemoryTensor> tensors, Checkpoint& share) {
  CKPT_RETURN_IF_ERROR(check_tensors(tensors, share));
  CheckpointFile file;
  file.path = "the caller's memory";
  std::vector<TensorMemory::Piece> pieces;
  pieces.reserve(tensors.size());
  const auto index = static_cast<std::uint32_t>(share.files.size());
  for (const MemoryTensor& tensor : tensors) {
    share.parameters.push_back(tensor.parameter);
    share.locations.push_back({index, file.bytes});
    if (!tensor.bytes.empty()) pieces.push_back({file.bytes, tensor.bytes, tensor.on_device});
    file.bytes = align_up(file.bytes + tensor.bytes.size(), kTensorAlignment);
  }
  file.memory = std::make_shared<TensorMemory>(std::move(pieces));
  share.files.push_back(std::move(file));
  return Status::success();
}

}  // namespace ckpt
