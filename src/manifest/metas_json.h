/// All ranks' manifests as one JSON document: what `--save-metas-file` writes. docs/format/metas.md describes it, with examples that a test reads.
///
///   {format, version, checkpoint, layout{packing, bucket_bytes, …, digest}, parameters[…], ranks[…]}
///
/// Frames are not stored: they follow from parameters, packing and the number of ranks, so a document cannot describe a layout that does not exist.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "manifest/manifest.h"

namespace ckpt {

/// `manifests` share one layout and are ordered by rank; at least one. Bytes that are no UTF-8 become U+FFFD (such a document is then refused by its
/// digest if they stood in a tensor's name).
[[nodiscard]] std::string manifests_json(std::span<const Manifest> manifests);

/// Strict: unknown version, unknown, missing or repeated fields, wrong types, tensors that stand twice, sizes that overflow, digests of units that
/// the layout does not have, and a layout digest that does not fit are data_corruption with place and reason. Nothing is allocated on a size's word
/// alone. Threads: any. Cost: 140,000 tensors in tens of milliseconds.
[[nodiscard]] Result<std::vector<Manifest>> manifests_from_json(std::string_view text);

}  // namespace ckpt
