/// The two collective exchanges of a registration: shares that callers gave, and manifests.
#pragma once

#include <memory>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "manifest/manifest.h"
#include "rendezvous/group.h"

namespace ckpt {

/// All ranks' shares as one layout, and this rank's checkpoint with a location for each parameter of the layout (its own; the others' are never
/// used).
struct ShareLayout {
  std::shared_ptr<const CheckpointLayout> layout;
  Checkpoint checkpoint;
};

/// Collective. invalid_argument names a tensor that two ranks hold.
[[nodiscard]] Result<ShareLayout> gather_shares(Group& group, const Checkpoint& mine, const FrameOptions& options, Deadline deadline);

/// Collective. Errors as assemble_manifests.
[[nodiscard]] Result<std::vector<Manifest>> gather_manifests(Group& group, const Manifest& mine, std::uint64_t layout_digest, Deadline deadline);

}  // namespace ckpt
