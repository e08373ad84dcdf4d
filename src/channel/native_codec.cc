#include "channel/native_codec.h"

#include <algorithm>
#include <limits>
#include <msgpack.hpp>

#include "base/bytes.h"
#include "channel/peer_text.h"

namespace ckpt {
namespace {

constexpr std::size_t kCudaIpcHandleBytes = 64;

using Packer = msgpack::packer<msgpack::sbuffer>;

std::string text_of(const msgpack::sbuffer& buffer) { return {buffer.data(), buffer.size()}; }

/// A message is [version, kind, fields…]: arrays, so that names are not sent with every tensor.
Packer& begin(Packer& packer, std::uint32_t num_fields, const char* kind) {
  packer.pack_array(2 + num_fields);
  packer.pack(kNativeVersion);
  packer.pack(std::string_view(kind));
  return packer;
}

Status bad(std::string_view what) { return {StatusCode::data_corruption, Scope::peer, "channel message: {}", what}; }

/// Reads an array's elements in order; after the first that does not fit, `ok` is false and everything reads as zero.
class ArrayReader {
 public:
  explicit ArrayReader(const msgpack::object& object) : object_(object), ok_(object.type == msgpack::type::ARRAY) {}
  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] bool finished() const { return ok_ && next_ == object_.via.array.size; }
  [[nodiscard]] std::size_t size() const { return ok_ ? object_.via.array.size : 0; }
  const msgpack::object& element() {
    static const msgpack::object kNil;
    if (!ok_ || next_ >= object_.via.array.size) {
      ok_ = false;
      return kNil;
    }
    return object_.via.array.ptr[next_++];
  }
  std::uint64_t number() {
    const msgpack::object& value = element();
    if (value.type != msgpack::type::POSITIVE_INTEGER) ok_ = false;
    return ok_ ? value.via.u64 : 0;
  }
  std::uint32_t small_number() {
    const std::uint64_t value = number();
    if (value > std::numeric_limits<std::uint32_t>::max()) ok_ = false;
    return ok_ ? static_cast<std::uint32_t>(value) : 0;
  }
  std::string_view text() {
    const msgpack::object& value = element();
    if (value.type != msgpack::type::STR) ok_ = false;
    return ok_ ? std::string_view(value.via.str.ptr, value.via.str.size) : std::string_view{};
  }
  std::string_view binary() {
    const msgpack::object& value = element();
    if (value.type != msgpack::type::BIN) ok_ = false;
    return ok_ ? std::string_view(value.via.bin.ptr, value.via.bin.size) : std::string_view{};
  }

 private:
  const msgpack::object& object_;
  bool ok_;
  std::size_t next_ = 0;
};

Result<NativeTensor> read_tensor(const msgpack::object& object) {
  ArrayReader in(object);
  NativeTensor tensor;
  tensor.parameter.name = in.text();
  const std::uint64_t dtype = in.number();
  tensor.offset_bytes = in.number();
  ArrayReader shape(in.element());
  for (std::size_t i = 0; shape.ok() && i < shape.size(); ++i) tensor.parameter.shape.push_back(shape.number());
  if (!in.finished() || !shape.finished()) return bad("a tensor is not [name, dtype, offset, shape]");
  if (!is_utf8(tensor.parameter.name)) return bad(fmt::format("the tensor name \"{}\" is no UTF-8", peer_text(tensor.parameter.name, 200)));
  if (dtype >= kNumDTypes) return bad(fmt::format("tensor {} has the unknown dtype {}", tensor.parameter.name, dtype));
  tensor.parameter.dtype = static_cast<DType>(dtype);
  const auto bytes = tensor_bytes(tensor.parameter.dtype, tensor.parameter.shape);
  if (!bytes) return bad(fmt::format("tensor {}: its size overflows", tensor.parameter.name));
  tensor.parameter.bytes = *bytes;
  return tensor;
}

Result<UnitCheck> read_check(const msgpack::object& object) {
  ArrayReader in(object);
  UnitCheck check;
  check.rank = in.small_number();
  check.xxh3 = in.number();
  ArrayReader ranges(in.element());
  if (ranges.size() % 2 != 0) return bad("a digest's ranges are not pairs");
  for (std::size_t i = 0; ranges.ok() && i < ranges.size() / 2; ++i) {
    const std::uint64_t offset = ranges.number();
    check.ranges.push_back({offset, ranges.number()});
  }
  if (!in.finished() || !ranges.finished()) return bad("a digest is not [rank below 2^32, xxh3, ranges]");
  return check;
}

Result<NativeMessage> read_bucket(ArrayReader& in) {
  NativeBucket bucket;
  bucket.index = in.small_number();
  ArrayReader tensors(in.element());
  if (tensors.size() > kMaxNativeTensors) return bad("too many tensors in a bucket");
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    CKPT_ASSIGN_OR_RETURN(NativeTensor tensor, read_tensor(tensors.element()));
    bucket.tensors.push_back(std::move(tensor));
  }
  ArrayReader checks(in.element());
  for (std::size_t i = 0; i < checks.size(); ++i) {
    CKPT_ASSIGN_OR_RETURN(UnitCheck check, read_check(checks.element()));
    bucket.checks.push_back(std::move(check));
  }
  if (!in.finished() || !tensors.ok() || !checks.ok()) return bad("a bucket is not [index below 2^32, tensors, checks]");
  return NativeMessage(std::move(bucket));
}

Result<NativeMessage> read_message(const msgpack::object& object) {
  ArrayReader in(object);
  const std::uint64_t version = in.number();
  const std::string_view kind = in.text();
  if (!in.ok()) return bad("it is no message of this channel");
  if (version != kNativeVersion) return bad(fmt::format("version {} is unknown; this build speaks {}", version, kNativeVersion));
  if (kind == "bucket") return read_bucket(in);
  NativeMessage message;
  if (kind == "handle") {
    NativeHandle handle;
    handle.fd_socket = in.text();
    handle.bytes = in.number();
    message = std::move(handle);
  } else if (kind == "gpu handle") {
    NativeHandle handle;
    handle.device_key = in.text();
    handle.cuda_ipc_handle = in.binary();
    handle.bytes = in.number();
    if (handle.cuda_ipc_handle.size() != kCudaIpcHandleBytes) return bad("a GPU's handle is not 64 bytes");
    message = std::move(handle);
  } else if (kind == "release") {
    message = NativeRelease{};
  } else if (kind == "finish") {
    message = NativeFinish{};
  } else if (kind == "abort") {
    message = NativeAbort{std::string(in.text())};
  } else {
    return bad(fmt::format("the kind \"{}\" is unknown", peer_text(kind, 40)));
  }
  if (!in.finished()) return bad(fmt::format("a message of kind {} has the wrong fields", kind));
  return message;
}

}  // namespace

std::string encode_native_handle(const NativeHandle& handle) {
  msgpack::sbuffer buffer;
  Packer packer(buffer);
  if (handle.cuda_ipc_handle.empty()) {
    begin(packer, 2, "handle").pack(handle.fd_socket).pack(handle.bytes);
  } else {
    const auto raw_bytes = static_cast<std::uint32_t>(handle.cuda_ipc_handle.size());
    begin(packer, 3, "gpu handle").pack(handle.device_key).pack_bin(raw_bytes).pack_bin_body(handle.cuda_ipc_handle.data(), raw_bytes);
    packer.pack(handle.bytes);
  }
  return text_of(buffer);
}

std::string encode_native_bucket(std::uint32_t index, std::span<const PlacedTensor> tensors, std::span<const UnitCheck> checks) {
  msgpack::sbuffer buffer;
  Packer packer(buffer);
  begin(packer, 3, "bucket").pack(index).pack_array(static_cast<std::uint32_t>(tensors.size()));
  for (const PlacedTensor& tensor : tensors) {
    packer.pack_array(4)
        .pack(tensor.parameter->name)
        .pack(static_cast<std::uint8_t>(tensor.parameter->dtype))
        .pack(tensor.offset_bytes)
        .pack(tensor.parameter->shape);
  }
  packer.pack_array(static_cast<std::uint32_t>(checks.size()));
  for (const UnitCheck& check : checks) {
    packer.pack_array(3).pack(check.rank).pack(check.xxh3).pack_array(static_cast<std::uint32_t>(check.ranges.size() * 2));
    for (const UnitCheck::Range& range : check.ranges) packer.pack(range.offset_bytes).pack(range.bytes);
  }
  return text_of(buffer);
}

std::string encode_native_release() {
  msgpack::sbuffer buffer;
  Packer packer(buffer);
  begin(packer, 0, "release");
  return text_of(buffer);
}

std::string encode_native_finish() {
  msgpack::sbuffer buffer;
  Packer packer(buffer);
  begin(packer, 0, "finish");
  return text_of(buffer);
}

std::string encode_native_abort(std::string_view reason) {
  msgpack::sbuffer buffer;
  Packer packer(buffer);
  begin(packer, 1, "abort").pack(reason);
  return text_of(buffer);
}

Result<NativeMessage> decode_native(std::string_view bytes) {
  try {
    // The limits bound what a header may announce before its bytes are there; nesting deeper than a bucket's is refused.
    const msgpack::unpack_limit limit(std::min<std::size_t>(bytes.size(), 8'000'000), 0, 64 * 1024 * 1024, kCudaIpcHandleBytes, 0, 8);
    std::size_t end = 0;
    const msgpack::object_handle handle = msgpack::unpack(bytes.data(), bytes.size(), end, nullptr, nullptr, limit);
    if (end != bytes.size()) return bad(fmt::format("{} bytes behind the message's end", bytes.size() - end));
    return read_message(handle.get());
  } catch (const std::exception& error) {
    return bad(fmt::format("no valid msgpack: {}", error.what()));
  }
}

Status check_native_bucket(const NativeBucket& bucket, std::uint64_t buffer_bytes) {
  for (const NativeTensor& tensor : bucket.tensors) {
    if (tensor.offset_bytes % kTensorAlignment != 0)
      return bad(fmt::format("bucket {}: tensor {} starts at {}, no multiple of 256", bucket.index, tensor.parameter.name, tensor.offset_bytes));
    if (tensor.offset_bytes > buffer_bytes || tensor.parameter.bytes > buffer_bytes - tensor.offset_bytes)
      return bad(fmt::format("bucket {}: tensor {} of {} bytes at {} lies outside the buffer of {}", bucket.index, tensor.parameter.name,
                             tensor.parameter.bytes, tensor.offset_bytes, buffer_bytes));
    if (tensor.parameter.name.empty()) return bad(fmt::format("bucket {}: a tensor has no name", bucket.index));
  }
  for (const UnitCheck& check : bucket.checks)
    for (const UnitCheck::Range& range : check.ranges)
      if (range.offset_bytes > buffer_bytes || range.bytes > buffer_bytes - range.offset_bytes)
        return bad(fmt::format("bucket {}: a digest of rank {} covers bytes outside the buffer", bucket.index, check.rank));
  return Status::success();
}

}  // namespace ckpt
