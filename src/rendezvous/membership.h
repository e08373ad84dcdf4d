/// Who belongs to the group, in which epoch, and what they wait for together. The store's view; pure: no sockets, no clock of its own.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "rendezvous/outbox.h"

namespace ckpt {

/// Life of the group:  forming ─all joined─▶ running ─death, silence, abort, deadline─▶ failed ─all joined again─▶ running (next epoch) …
/// Invariants: 1. the epoch grows by one each time the group starts to run. 2. An epoch fails once: the first cause is the one that all are told.
/// 3. At most one step (join or gather) is open; it ends for all its ranks at once.
class Membership {
 public:
  explicit Membership(std::uint32_t num_ranks) : seats_(num_ranks) {}

  /// join, gather, abort or leave.
  void handle(ConnectionId from, const StoreMessage& request, TimePoint now, Outbox& out);
  /// The connection is gone. `why` describes it to the others; not a death if its rank had left.
  void disconnected(ConnectionId connection, const Status& why, Outbox& out);
  /// Ends the step whose earliest deadline has come, naming the ranks that did not.
  void expire(TimePoint now, Outbox& out);
  [[nodiscard]] std::optional<TimePoint> next_deadline() const;

  [[nodiscard]] std::optional<std::uint32_t> rank_of(ConnectionId connection) const;
  /// Whether no rank is connected.
  [[nodiscard]] bool empty() const;
  [[nodiscard]] std::uint64_t epoch() const { return epoch_; }

 private:
  enum class Phase : std::uint8_t { forming, running, failed };
  struct Seat {
    ConnectionId connection = 0;  // 0: nobody
    bool left = false;
  };
  /// One rank's share of the open step.
  struct Arrival {
    std::uint64_t id;
    TimePoint deadline;
    std::uint64_t timeout_ns;
    std::shared_ptr<const Bytes> value;
  };
  struct Step {
    std::string what;
    std::map<std::uint32_t, Arrival> arrivals;
  };

  void join(ConnectionId from, const StoreMessage& request, TimePoint now, Outbox& out);
  [[nodiscard]] Status check_join(ConnectionId from, const StoreMessage& request) const;
  void start(Outbox& out);
  void gather(ConnectionId from, std::uint32_t rank, const StoreMessage& request, TimePoint now, Outbox& out);
  void finish_gather(Outbox& out);
  void leave(ConnectionId from, std::uint32_t rank, const StoreMessage& request, Outbox& out);
  /// Ends the open step with `why`; a running epoch fails with it.
  void fail(const Status& why, Outbox& out);
  [[nodiscard]] std::vector<std::uint32_t> missing() const;

  std::vector<Seat> seats_;  // by rank
  Phase phase_ = Phase::forming;
  std::uint64_t epoch_ = 0;
  Status failure_;  // of the epoch, while failed
  std::optional<Step> step_;
};

/// "rank 3", "ranks 1 and 3", "ranks 0, 1 and 7".
[[nodiscard]] std::string list_ranks(const std::vector<std::uint32_t>& ranks);

}  // namespace ckpt
