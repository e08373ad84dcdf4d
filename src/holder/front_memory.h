/// The memory that the front owns for its workers: the encoded model and every worker's arenas, as descriptors that outlive any worker.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "holder/worker_layout.h"
#include "os/unique_fd.h"

namespace ckpt {

struct FrontMemory {
  UniqueFd model;
  std::uint64_t model_bytes = 0;
  std::vector<std::vector<UniqueFd>> arenas;  ///< [worker][arena]; one arena a worker when updates happen in place, else two

  /// Takes no pages yet, but for the model's.
  [[nodiscard]] static Result<FrontMemory> create(const HolderModel& model, std::span<const WorkerLayout> layouts, bool in_place);

  /// The digest tables of every worker's arena number `arena`, by worker and parameter.
  [[nodiscard]] Result<std::vector<std::vector<std::uint64_t>>> read_digests(std::span<const WorkerLayout> layouts, std::uint32_t arena) const;
};

}  // namespace ckpt
