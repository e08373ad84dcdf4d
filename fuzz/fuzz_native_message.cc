// fuzz: channel manifest base
// Input: the size of the buffer in decimal, a newline, one message of the native channel.
#include "base/check.h"
#include "channel/native_codec.h"
#include "number_line.h"

namespace ckpt {
namespace {

std::string encode(const NativeBucket& bucket) {
  std::vector<PlacedTensor> placed;
  for (const NativeTensor& tensor : bucket.tensors) placed.push_back({&tensor.parameter, tensor.offset_bytes});
  return encode_native_bucket(bucket.index, placed, bucket.checks);
}
std::string encode(const NativeHandle& handle) { return encode_native_handle(handle); }
std::string encode(const NativeRelease&) { return encode_native_release(); }
std::string encode(const NativeFinish&) { return encode_native_finish(); }
std::string encode(const NativeAbort& abort) { return encode_native_abort(abort.reason); }

std::string encode(const NativeMessage& message) {
  return std::visit([](const auto& one) { return encode(one); }, message);
}

/// What passes the check lies in the buffer.
void check_places(const NativeBucket& bucket, std::uint64_t buffer_bytes) {
  for (const NativeTensor& tensor : bucket.tensors) {
    CKPT_CHECK(tensor.parameter.bytes <= buffer_bytes && tensor.offset_bytes <= buffer_bytes - tensor.parameter.bytes);
    CKPT_CHECK(tensor.offset_bytes % 256 == 0);
  }
  for (const UnitCheck& check : bucket.checks)
    for (const UnitCheck::Range& range : check.ranges) CKPT_CHECK(range.bytes <= buffer_bytes && range.offset_bytes <= buffer_bytes - range.bytes);
}

}  // namespace
}  // namespace ckpt

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto [buffer_bytes, bytes] = ckpt::fuzz::split_number_line(data, size);
  const ckpt::Result<ckpt::NativeMessage> message = ckpt::decode_native(bytes);
  if (!message.ok()) return 0;
  // Written again it is in its shortest form, and means the same.
  const std::string shortest = ckpt::encode(*message);
  CKPT_CHECK(shortest.size() <= bytes.size());
  const ckpt::Result<ckpt::NativeMessage> again = ckpt::decode_native(shortest);
  CKPT_CHECK(again.ok() && ckpt::encode(*again) == shortest);
  if (const auto* bucket = std::get_if<ckpt::NativeBucket>(&*message); bucket != nullptr && ckpt::check_native_bucket(*bucket, buffer_bytes).ok())
    ckpt::check_places(*bucket, buffer_bytes);
  return 0;
}
