#define XXH_INLINE_ALL
#include <xxhash.h>

#include "manifest/manifest.h"

namespace ckpt {
namespace {

/// Feeds numbers and texts, each with its length, so that no two layouts give the same stream.
class DigestStream {
 public:
  DigestStream() { XXH3_64bits_reset(&state_); }
  void number(std::uint64_t value) { XXH3_64bits_update(&state_, &value, sizeof value); }
  void text(const std::string& value) {
    number(value.size());
    XXH3_64bits_update(&state_, value.data(), value.size());
  }
  void numbers(const std::vector<std::uint64_t>& values) {
    number(values.size());
    XXH3_64bits_update(&state_, values.data(), values.size() * sizeof(std::uint64_t));
  }
  [[nodiscard]] std::uint64_t value() const { return XXH3_64bits_digest(&state_); }

 private:
  XXH3_state_t state_;
};

}  // namespace

std::uint64_t digest(const CheckpointLayout& layout) {
  DigestStream stream;
  stream.number(layout.parameters.size());
  for (const Parameter& parameter : layout.parameters) {
    stream.text(parameter.name);
    stream.number(static_cast<std::uint64_t>(parameter.dtype));
    stream.numbers(parameter.shape);
  }
  stream.number(layout.frames.num_ranks);
  stream.number(layout.frames.striped ? 1 : 0);
  stream.number(layout.frames.frames.size());
  for (const Frame& frame : layout.frames.frames) {
    stream.number(frame.placements.size());
    for (const Placement& placement : frame.placements) {
      stream.number(placement.parameter);
      stream.number(placement.offset_bytes);
    }
    stream.number(frame.stripes.size());
    for (const Stripe& stripe : frame.stripes) stream.numbers(stripe.unit_bytes);
  }
  return stream.value();
}

}  // namespace ckpt
