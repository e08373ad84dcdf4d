/// What an update did: for the closing table, `--json` and the metrics.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/recorder.h"
#include "ckpt/result.h"

namespace ckpt {

/// One stage over all ranks. `seconds` is the longest of any rank; `bytes` are all ranks' together.
struct StageReport {
  std::uint64_t bytes = 0;
  double seconds = 0;
};

struct UpdateReport {
  std::string checkpoint;
  std::string version;
  std::uint32_t num_ranks = 0;
  std::uint32_t num_engines = 0;      ///< 0: the caller speaks with them, and knows
  std::uint32_t num_idle_groups = 0;  ///< groups without an engine: they hold and send
  std::uint64_t checkpoint_bytes = 0;
  std::uint32_t num_tensors = 0;
  std::uint32_t num_frames = 0;
  std::uint32_t num_slots = 0;
  std::uint64_t slot_bytes = 0;
  bool verified = false;           ///< digests were checked by the receivers
  std::string lane;                ///< what carried the bytes between ranks
  std::vector<std::string> notes;  ///< warnings of the plan and the like, one sentence each
  std::array<StageReport, kNumStages> stages{};
  double seconds = 0;                  ///< of the whole update, registration left out
  std::uint32_t kept_versions = 0;     ///< before this one, that every rank can still send
  std::uint64_t pool_bytes = 0;        ///< most host pool memory of any rank
  std::uint32_t pool_arenas_made = 0;  ///< most pieces of memory that a rank's pool has made since it began
  std::uint64_t own_heap_bytes = 0;    ///< most heap of any rank beside pool, slots and what CUDA and NCCL took for themselves, at the end
};

/// As `update --json` prints it and as the C interface gives it. `memcpy_bytes_per_s`: the limit measured beside it; 0: none was.
[[nodiscard]] std::string report_json(const UpdateReport& report, double memcpy_bytes_per_s = 0);

/// One rank's part as text for the other ranks, and back. data_corruption on text that is none.
[[nodiscard]] std::string encode_rank_report(const UpdateReport& report);
/// Adds another rank's part: bytes add up, times take the longest.
[[nodiscard]] Status merge_rank_report(std::string_view text, UpdateReport& into);

}  // namespace ckpt
