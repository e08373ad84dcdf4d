/// Messages between our sender and our receiver: msgpack, one map each. docs/format/channel.md has them field by field.
///
///   sender ─▶ worker   handle ▸ bucket … ▸ release ▸ finish, or abort at any time
///   worker ─▶ sender   empty (ok) or UTF-8 text (what went wrong), as every worker of the field answers
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "channel/placed_tensor.h"
#include "ckpt/result.h"

namespace ckpt {

inline constexpr std::uint32_t kNativeVersion = 1;
inline constexpr std::size_t kMaxNativeTensors = 1'000'000;
inline constexpr std::size_t kMaxNativeMessageBytes = 512u << 20;

/// Where the memory comes from: a Unix socket that passes its descriptor, or the handle of an allocation on a GPU.
struct NativeHandle {
  std::string fd_socket;  ///< empty for a GPU's memory
  std::uint64_t bytes = 0;
  std::string device_key = {};       ///< "GPU-…", or empty
  std::string cuda_ipc_handle = {};  ///< 64 bytes, or empty
};
struct NativeTensor {
  Parameter parameter;
  std::uint64_t offset_bytes = 0;
};
struct NativeBucket {
  std::uint32_t index = 0;
  std::vector<NativeTensor> tensors;
  std::vector<UnitCheck> checks;
};
struct NativeRelease {};
struct NativeFinish {};
struct NativeAbort {
  std::string reason;
};
using NativeMessage = std::variant<NativeHandle, NativeBucket, NativeRelease, NativeFinish, NativeAbort>;

[[nodiscard]] std::string encode_native_handle(const NativeHandle& handle);
[[nodiscard]] std::string encode_native_bucket(std::uint32_t index, std::span<const PlacedTensor> tensors, std::span<const UnitCheck> checks);
[[nodiscard]] std::string encode_native_release();
[[nodiscard]] std::string encode_native_finish();
[[nodiscard]] std::string encode_native_abort(std::string_view reason);

/// Strict: types, counts, names (UTF-8), the sizes that follow from dtype and shape, and that nothing follows are checked; whether offsets lie in the
/// buffer is for check_native_bucket. data_corruption says what does not fit.
[[nodiscard]] Result<NativeMessage> decode_native(std::string_view bytes);

/// ok if every tensor and range lies in a buffer of `buffer_bytes`, at a multiple of 256; data_corruption names the tensor otherwise.
[[nodiscard]] Status check_native_bucket(const NativeBucket& bucket, std::uint64_t buffer_bytes);

}  // namespace ckpt
