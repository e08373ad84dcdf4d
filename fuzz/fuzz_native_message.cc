// The receiver's decoder of native channel messages, and the check of what a bucket may touch.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "channel/native_codec.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto message = ckpt::decode_native({reinterpret_cast<const char*>(data), size});
  if (!message.ok()) return 0;
  const auto* bucket = std::get_if<ckpt::NativeBucket>(&*message);
  if (bucket == nullptr || !ckpt::check_native_bucket(*bucket, 1 << 20).ok()) return 0;
  for (const ckpt::NativeTensor& tensor : bucket->tensors)
    if (tensor.offset_bytes + tensor.parameter.bytes > (1 << 20)) __builtin_trap();
  return 0;
}
