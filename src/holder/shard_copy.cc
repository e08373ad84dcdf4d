#include "holder/shard_copy.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "base/bytes.h"
#include "base/check.h"
#include "manifest/xxh3.h"

namespace ckpt {
namespace {

constexpr std::uint64_t kPart = 128 * KiB;  // stays in a core's own cache

struct FreeState {
  void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
};

// Writes the shard piece by piece, none larger than kPart, and calls after_piece(end of what is written) after each.
template <typename AfterPiece>
void gather(const TensorShard& shard, std::span<const std::byte> tensor, std::byte* destination, AfterPiece after_piece) {
  for (std::uint64_t run = 0; run < shard.num_runs; ++run) {
    const std::byte* source = tensor.data() + shard.source_offset_bytes + run * shard.stride_bytes;
    for (std::uint64_t offset = 0; offset < shard.run_bytes; offset += kPart) {
      const std::uint64_t bytes = std::min(kPart, shard.run_bytes - offset);
      std::memcpy(destination, source + offset, bytes);
      destination += bytes;
      after_piece(destination);
    }
  }
}

}  // namespace

std::uint64_t copy_shard(const TensorShard& shard, std::span<const std::byte> tensor, std::span<std::byte> destination) {
  CKPT_CHECK(destination.size() == shard.bytes());
  CKPT_CHECK(shard.bytes() == 0 || shard.source_offset_bytes + (shard.num_runs - 1) * shard.stride_bytes + shard.run_bytes <= tensor.size());
  if (shard.bytes() <= kPart) {
    gather(shard, tensor, destination.data(), [](const std::byte*) {});
    return digest_of(destination);
  }
  const std::unique_ptr<XXH3_state_t, FreeState> state(XXH3_createState());
  XXH3_64bits_reset(state.get());
  const std::byte* hashed = destination.data();
  const std::byte* const end = hashed + destination.size();
  gather(shard, tensor, destination.data(), [&](const std::byte* written) {
    if (static_cast<std::uint64_t>(written - hashed) < kPart && written != end) return;
    XXH3_64bits_update(state.get(), hashed, static_cast<std::size_t>(written - hashed));
    hashed = written;
  });
  return XXH3_64bits_digest(state.get());
}

std::uint64_t digest_of(std::span<const std::byte> bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

}  // namespace ckpt
