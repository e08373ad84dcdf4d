/// What a rank holds of a checkpoint, and its wire form: the "metas" that ranks gather and that `--save-metas-file` writes.
/// docs/format/metas.md has the JSON with examples that a test parses.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ckpt/result.h"
#include "manifest/frame_layout.h"
#include "manifest/parameter.h"

namespace ckpt {

/// One pinned allocation of a rank, as another process could address it (RDMA, shared memory).
struct SegmentInfo {
  std::uint64_t address = 0;  ///< in the owner's address space
  std::uint64_t bytes = 0;
  std::string path;  ///< the adopted file, or empty for anonymous memory
  friend bool operator==(const SegmentInfo&, const SegmentInfo&) = default;
};

/// The description of a checkpoint that all ranks share: parameters and their layout. Immutable, compared by digest.
struct CheckpointLayout {
  std::vector<Parameter> parameters;
  FrameLayout frames;
};

/// Digest over parameters and layout: equal on two ranks iff they would build the same plan.
[[nodiscard]] std::uint64_t digest(const CheckpointLayout& layout);

/// Digests of the bytes of each unit, for `--verify`: one xxh3-64 (seed 0) over the unit's extents in order, padding left out.
struct UnitDigest {
  std::uint32_t frame;
  std::uint32_t stripe;
  std::uint64_t xxh3;
  friend bool operator==(const UnitDigest&, const UnitDigest&) = default;
};

/// What one rank holds of one checkpoint.
struct Manifest {
  std::string checkpoint;
  std::uint32_t rank = 0;
  std::string host;                                ///< boot id: ranks with equal hosts share memory
  std::string device_key;                          ///< "GPU-…" or "HOST-…": key in the engines' handle map
  std::uint64_t free_device_bytes = 0;             ///< what slots may take on this rank
  std::shared_ptr<const CheckpointLayout> layout;  ///< shared by all ranks' manifests of one process: 140,000 names are kept once
  std::vector<SegmentInfo> segments;
  std::vector<UnitDigest> digests;  ///< empty without --verify
};

}  // namespace ckpt
