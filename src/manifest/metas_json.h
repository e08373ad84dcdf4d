/// All ranks' manifests as one JSON document: what `--save-metas-file` writes. docs/format/metas.md describes it.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "manifest/manifest.h"

namespace ckpt {

/// `manifests` share one layout and are ordered by rank; at least one.
[[nodiscard]] std::string manifests_json(std::span<const Manifest> manifests);

/// Strict: unknown version, wrong types, missing fields, overflow, or a layout digest that does not fit are data_corruption with the reason.
[[nodiscard]] Result<std::vector<Manifest>> manifests_from_json(std::string_view text);

}  // namespace ckpt
