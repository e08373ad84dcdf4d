/// What `GET /weights` shows: the version in place and the digests of every shard. Made once a version, not once a request.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "holder/worker_layout.h"

namespace ckpt {

/// empty: no update has succeeded yet. torn: an update in place has failed; nothing whole is there.
enum class HolderState : std::uint8_t { empty, serving, updating, torn };
[[nodiscard]] std::string_view name(HolderState state);

/// A snapshot; copies are cheap.
struct WeightsView {
  std::optional<std::string> version;  ///< nullopt while nothing whole is in place, or the sender gave none
  HolderState state = HolderState::empty;
  std::uint32_t tp = 1;
  std::shared_ptr<const std::string> workers;  ///< shared by all snapshots of a version: the JSON array of the workers and their tensors

  /// The whole document, as docs/reference/http.md gives it.
  [[nodiscard]] std::string to_json() const;
};

/// The JSON array of workers that hold `digests[worker][parameter]`; empty digests: workers that hold nothing whole.
[[nodiscard]] std::string workers_json(const HolderModel& model, std::span<const WorkerLayout> layouts,
                                       std::span<const std::vector<std::uint64_t>> digests);

}  // namespace ckpt
