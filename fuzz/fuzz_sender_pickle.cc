// fuzz: channel base
#include "base/check.h"
#include "channel/sender_pickle.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ckpt::Result<ckpt::SenderPickle> message = ckpt::decode_sender_pickle({reinterpret_cast<const char*>(data), size});
  if (!message.ok()) return 0;
  if (const auto* handle = std::get_if<ckpt::PickledHandle>(&*message)) {
    CKPT_CHECK(handle->bytes <= handle->storage_size_bytes && handle->tensor_offset <= handle->storage_size_bytes - handle->bytes);
  }
  if (const auto* bucket = std::get_if<ckpt::NativeBucket>(&*message)) {
    constexpr std::uint64_t kBufferBytes = 1 << 20;
    if (!ckpt::check_pickled_bucket(*bucket, kBufferBytes).ok()) return 0;
    for (const ckpt::NativeTensor& tensor : bucket->tensors) {
      CKPT_CHECK(!tensor.parameter.name.empty());
      CKPT_CHECK(tensor.parameter.bytes <= kBufferBytes && tensor.offset_bytes <= kBufferBytes - tensor.parameter.bytes);
    }
  }
  return 0;
}
