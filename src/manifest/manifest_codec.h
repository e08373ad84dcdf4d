/// One rank's manifest as a message to the other ranks, without the layout (which each rank computes itself), and a share's tensors.
/// Binary, little-endian, bounds checked before anything is allocated.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "manifest/manifest.h"

namespace ckpt {

[[nodiscard]] std::string encode_manifest(const Manifest& manifest, std::uint64_t layout_digest);

/// All ranks' messages, by rank, as manifests that share `layout`. data_corruption: a message that cannot be read; failed_precondition: a rank that
/// registered another checkpoint or read other headers. The error names the rank and is
/// the same on all ranks.
[[nodiscard]] Result<std::vector<Manifest>> assemble_manifests(std::span<const std::string_view> messages,
                                                               const std::shared_ptr<const CheckpointLayout>& layout, std::uint64_t layout_digest);

/// Names, dtypes and shapes of a share that a caller gave.
[[nodiscard]] std::string encode_parameters(std::span<const Parameter> parameters);
[[nodiscard]] Result<std::vector<Parameter>> decode_parameters(std::string_view text);

}  // namespace ckpt
