/// What `inspect` found out about a checkpoint, and how it is told.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace ckpt {

struct DtypeTotals {
  std::uint64_t num_tensors = 0;
  std::uint64_t bytes = 0;
};

struct Inspection {
  std::string path;
  CheckpointSurvey survey;
  std::vector<std::uint64_t> digests;  ///< by parameter; empty: not asked for
  bool list_tensors = false;

  [[nodiscard]] std::map<DType, DtypeTotals> totals() const;
};

/// For people: totals, dtypes, metadata, a table of tensors where asked for. Problems are not in it.
[[nodiscard]] std::string inspection_text(const Inspection& inspection);
/// One document, problems included.
[[nodiscard]] std::string inspection_json(const Inspection& inspection);

}  // namespace ckpt
