// Frames of shares that the caller gave. Tensors stay whole on their rank, so a frame is one stripe of uneven units.
#include <queue>

#include "base/bytes.h"
#include "base/check.h"
#include "manifest/frame_layout.h"
#include "manifest/layout_limits.h"

namespace ckpt {
namespace {

/// One rank's tensors, taken in order.
struct Share {
  std::uint32_t next = 0;  ///< parameter
  std::uint32_t end = 0;
  std::uint64_t bytes = 0;  ///< of all its tensors, aligned
  std::uint64_t taken = 0;  ///< of them, in frames so far

  [[nodiscard]] bool done() const { return next == end; }
  /// Division of two whole numbers is exact to the last bit on every machine, so all ranks order shares alike.
  [[nodiscard]] double progress() const { return bytes == 0 ? 0.0 : static_cast<double>(taken) / static_cast<double>(bytes); }
};

std::uint64_t aligned(const Parameter& parameter) { return align_up(parameter.bytes, kTensorAlignment); }

Result<std::vector<Share>> divide(std::span<const Parameter> parameters, std::span<const std::uint32_t> owner, std::uint32_t num_ranks) {
  if (owner.size() != parameters.size())
    return Status(StatusCode::invalid_argument, Scope::operation, "{} owners for {} tensors", owner.size(), parameters.size());
  std::vector<Share> shares(num_ranks);
  std::uint32_t next = 0;
  for (std::uint32_t rank = 0; rank < num_ranks; ++rank) {
    Share& share = shares[rank];
    for (share.next = next; next < owner.size() && owner[next] == rank; ++next) share.bytes += aligned(parameters[next]);
    share.end = next;
  }
  if (next != parameters.size())
    return Status(StatusCode::invalid_argument, Scope::operation, "tensor {} belongs to rank {}: owners must rise and stay below {} ranks",
                  parameters[next].name, owner[next], num_ranks);
  return shares;
}

/// Takes tensors for one frame of at most `most` bytes, always from the rank that is furthest behind, until no rank's next tensor fits.
/// Returns where each rank's tensors of this frame begin (they end at its `next`).
std::vector<std::uint32_t> take_for_frame(std::vector<Share>& shares, std::span<const Parameter> parameters, std::uint64_t most) {
  std::vector<std::uint32_t> first(shares.size());
  using Behind = std::pair<double, std::uint32_t>;
  std::priority_queue<Behind, std::vector<Behind>, std::greater<>> behind;
  for (std::uint32_t rank = 0; rank < shares.size(); ++rank) {
    first[rank] = shares[rank].next;
    if (!shares[rank].done()) behind.emplace(shares[rank].progress(), rank);
  }
  for (std::uint64_t used = 0; !behind.empty();) {
    const std::uint32_t rank = behind.top().second;
    behind.pop();
    Share& share = shares[rank];
    const std::uint64_t bytes = aligned(parameters[share.next]);
    if (bytes > most - used) continue;  // first in line for the next frame
    used += bytes;
    share.taken += bytes;
    ++share.next;
    if (!share.done()) behind.emplace(share.progress(), rank);
  }
  return first;
}

Frame place(const std::vector<Share>& shares, const std::vector<std::uint32_t>& first, std::span<const Parameter> parameters) {
  Frame frame;
  Stripe stripe{0, {}};
  stripe.unit_bytes.reserve(shares.size());
  for (std::size_t rank = 0; rank < shares.size(); ++rank) {
    const std::uint64_t begin = frame.bytes;
    for (std::uint32_t i = first[rank]; i < shares[rank].next; ++i) {
      frame.placements.push_back({i, frame.bytes});
      frame.bytes += aligned(parameters[i]);
    }
    stripe.unit_bytes.push_back(frame.bytes - begin);
  }
  if (frame.bytes > 0) frame.stripes.push_back(std::move(stripe));
  return frame;
}

}  // namespace

Result<FrameLayout> make_share_layout(std::span<const Parameter> parameters, std::span<const std::uint32_t> owner, std::uint32_t num_ranks,
                                      const FrameOptions& options) {
  CKPT_RETURN_IF_ERROR(check_layout_sizes(parameters, num_ranks));
  CKPT_ASSIGN_OR_RETURN(std::vector<Share> shares, divide(parameters, owner, num_ranks));
  FrameLayout layout{num_ranks, 0, false, {}, {options.bucket_bytes, 0}, {}};
  for (const Share& share : shares) layout.shares.push_back(share.end - share.next);
  const std::uint64_t most = most_frame_bytes(parameters, options.bucket_bytes);
  UnitBudget budget(num_ranks);
  for (std::size_t placed = 0; placed < parameters.size();) {
    CKPT_RETURN_IF_ERROR(budget.take(1));
    const std::vector<std::uint32_t> first = take_for_frame(shares, parameters, most);
    layout.frames.push_back(place(shares, first, parameters));
    CKPT_CHECK(!layout.frames.back().placements.empty());  // `most` takes any tensor
    placed += layout.frames.back().placements.size();
    layout.frame_bytes = std::max(layout.frame_bytes, layout.frames.back().bytes);
  }
  return layout;
}

}  // namespace ckpt
