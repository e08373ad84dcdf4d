/// What the front and its workers say to each other. Small: weights, digests and the model's tensors lie in shared memory.
///
///   front                                             worker
///   Hello (model, arenas) ──────────────────────────▶ maps, takes memory, checks the arena that is in place
///                         ◀────────────────────────── Ready
///   StageUpdate ────────────────────────────────────▶ receives into the other arena
///                         ◀────────────────────────── UpdateOutcome: prepared, or why not
///   AbortUpdate ────────────────────────────────────▶ ends it, if it still runs
///   Commit ─────────────────────────────────────────▶ the staged arena is in place now
///                         ◀────────────────────────── Committed
///   Ping ───────────────────────────────────────────▶
///                         ◀────────────────────────── Pong, also in the middle of an update
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "ckpt/result.h"

namespace ckpt {

/// First message. Its descriptors: the encoded model, then the arenas.
struct Hello {
  std::uint32_t rank = 0;
  std::uint32_t tp = 1;
  std::uint64_t model_bytes = 0;
  std::int32_t arena_in_place = -1;  ///< index of the arena that holds the current version; -1: none
};
struct StageUpdate {
  std::uint64_t update = 0;  ///< number of the update; outcomes carry it
  std::string address;       ///< where the sender's session listens
  std::uint32_t arena = 0;   ///< to stage into
  std::int64_t timeout_ns = 0;
  std::int64_t heartbeat_interval_ns = 0;
  std::int64_t heartbeat_timeout_ns = 0;
};
struct AbortUpdate {
  std::uint64_t update = 0;
  Status reason;
};
struct Commit {
  std::uint64_t update = 0;
  std::uint32_t arena = 0;
};
struct Ping {};
using FrontMessage = std::variant<Hello, StageUpdate, AbortUpdate, Commit, Ping>;

/// `status`: ok, or data_corruption when the arena in place does not have its digests any more, or why the worker cannot work.
struct Ready {
  Status status;
};
struct UpdateOutcome {
  std::uint64_t update = 0;
  Status status;  ///< ok: prepared
  bool touched_arena = false;
  std::uint64_t bytes = 0;
  double receive_seconds = 0;  ///< the whole session
  double apply_seconds = 0;
  double prepare_seconds = 0;
};
struct Committed {
  std::uint64_t update = 0;
};
struct Pong {};
using WorkerMessage = std::variant<Ready, UpdateOutcome, Committed, Pong>;

[[nodiscard]] std::string encode(const FrontMessage& message);
[[nodiscard]] std::string encode(const WorkerMessage& message);
/// internal when the text is none of ours.
[[nodiscard]] Result<FrontMessage> decode_front_message(std::string_view text);
[[nodiscard]] Result<WorkerMessage> decode_worker_message(std::string_view text);

}  // namespace ckpt
