#include "server/frame_options.h"

#include "base/bytes.h"

namespace ckpt {

FrameOptions frame_options(const Settings& settings, std::string_view device_kind) {
  const std::uint64_t automatic = device_kind == "cuda" ? 256 * MiB : 32 * MiB;
  const std::uint64_t wanted = settings.bytes("bucket_size");
  return {wanted != 0 ? wanted : automatic, settings.bytes("stripe_size")};
}

}  // namespace ckpt
