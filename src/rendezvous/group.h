/// The ranks of one job as a group: who is there, agreement between them, one error for all. All control traffic of an update goes through it,
/// over connections to the store; weight bytes never do.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/deadline.h"
#include "ckpt/result.h"
#include "os/abort_signal.h"

namespace ckpt {

struct StoreAddress {
  std::string host;
  std::uint16_t port = 0;
};

struct GroupOptions {
  StoreAddress store;
  std::uint32_t rank = 0;
  std::uint32_t num_ranks = 1;
  std::string token;  ///< shown to the store, compared in constant time
  Duration heartbeat_interval = std::chrono::seconds(1);
  Duration heartbeat_timeout = std::chrono::seconds(10);
  std::optional<std::uint32_t> store_rank = {};  ///< the rank whose process runs the store, for the error when it is gone
};

/// One rank's membership. Threads: any; collective calls (all_gather, barrier, agree) one at a time, in the same order on all ranks.
/// Invariants: 1. after a failure every collective call returns the same status on every surviving rank, until `renew`. 2. `epoch` only grows.
class Group {
 public:
  virtual ~Group() = default;

  [[nodiscard]] virtual std::uint32_t rank() const = 0;
  [[nodiscard]] virtual std::uint32_t size() const = 0;
  /// Number of this membership: fences stale messages.
  [[nodiscard]] virtual std::uint64_t epoch() const = 0;

  /// Everyone's bytes, by rank. unavailable (group) names the dead rank; deadline_exceeded names those that did not come.
  [[nodiscard]] virtual Result<std::vector<Bytes>> all_gather(std::string_view what, Bytes mine, Deadline deadline) = 0;
  [[nodiscard]] virtual Status barrier(std::string_view what, Deadline deadline) = 0;
  /// Everyone's outcome of one step: ok if all are ok, else on every rank the same first error (lowest rank that failed; its place is kept).
  [[nodiscard]] virtual Status agree(std::string_view what, const Status& mine, Deadline deadline) = 0;

  /// Ends the current operation of every rank with `reason`: their `failed()` signals trigger within milliseconds.
  virtual void abort(const Status& reason) noexcept = 0;
  /// Triggers when a member died, was cut off, fell silent, or a rank called abort: one signal per epoch; the reason names rank and cause.
  /// The reference stays valid while the group lives.
  [[nodiscard]] virtual const AbortSignal& failed() const = 0;
  /// After a failure: forms a new epoch of all `size()` ranks, those restarted included; clears `failed()`. Collective.
  /// A rank that the store took for dead connects again; a store that is gone is unavailable at once. Without a failure it makes one: cancelled.
  /// Ends with the reason of `abort` too: a rank that died may never come back.
  [[nodiscard]] virtual Status renew(Deadline deadline, const AbortSignal& abort) = 0;

  /// Leaves in peace: the others do not take it for a death.
  [[nodiscard]] virtual Status leave(Deadline deadline) = 0;
};

/// Joins; returns when all ranks are there. unavailable, deadline_exceeded, failed_precondition (wrong token, rank taken).
[[nodiscard]] Result<std::unique_ptr<Group>> join_group(const GroupOptions& options, Deadline deadline, const AbortSignal& abort);

/// Ends the current operation of every rank with `mine`, an error, and returns the error that the group took: the first that reached the store.
/// An error that says no more than that a peer has gone gives way to the peer's own, which is on its way.
[[nodiscard]] Status end_for_all(Group& group, const Status& mine);
/// The same where `mine` is an error, with this rank and `stage` as its place unless it names others. Ok stays ok.
[[nodiscard]] Status end_where_failed(Group& group, const Status& mine, std::string_view stage);

/// A group of one: no store, no sockets.
[[nodiscard]] std::unique_ptr<Group> solitary_group();

}  // namespace ckpt
