/// What the senders of the field say to a worker, read as data: the pickles of checkpoint-engine 0.1 to 0.4, and of whoever speaks like them.
///
///   sender ─▶ worker   handle ▸ list of tensors … ▸ None ▸ None (dialect 2), or an exception at any time
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "channel/native_codec.h"
#include "ckpt/result.h"

namespace ckpt {

/// The arguments of torch's rebuild_cuda_tensor for a flat uint8 tensor, by their names there; those that are the same in every message left out.
struct PickledHandle {
  std::uint64_t bytes = 0;          ///< tensor_size, with tensor_stride (1,)
  std::uint64_t tensor_offset = 0;  ///< bytes of the storage before the tensor
  std::int64_t storage_device = 0;  ///< of the sender; -1 where it names its GPU by text
  std::string storage_handle;
  std::uint64_t storage_size_bytes = 0;
  std::uint64_t storage_offset_bytes = 0;
  bool requires_grad = false;
  std::string ref_counter_handle;
  std::uint64_t ref_counter_offset = 0;
  std::string event_handle;
  bool event_sync_required = false;
};
struct PickledNone {};

/// A bucket's `index` is 0: pickles do not say it. An exception is a NativeAbort with its type and text.
using SenderPickle = std::variant<PickledHandle, NativeBucket, PickledNone, NativeAbort>;

/// Whether `message` is a pickle, and no native message: its first byte tells.
[[nodiscard]] inline bool is_pickle(std::string_view message) { return !message.empty() && message.front() == '\x80'; }

/// Strict: what does not have the form above is data_corruption, which names it. Sizes follow from dtype and shape; whether offsets lie in the buffer
/// is for check_pickled_bucket.
[[nodiscard]] Result<SenderPickle> decode_sender_pickle(std::string_view bytes);

/// ok if every tensor lies in a buffer of `buffer_bytes`, at a multiple of its element's size; data_corruption names the tensor otherwise.
[[nodiscard]] Status check_pickled_bucket(const NativeBucket& bucket, std::uint64_t buffer_bytes);

}  // namespace ckpt
