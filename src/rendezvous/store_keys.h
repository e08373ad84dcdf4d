/// The store's keys and values, and who waits for a change of one. Pure: no sockets, no clock of its own.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "rendezvous/outbox.h"

namespace ckpt {

/// Versions count the changes of a key from 1 on; 0 means absent.
/// Invariant: the values take at most `kMaxStoreBytes` together.
class StoreKeys {
 public:
  static constexpr std::uint64_t kMaxStoreBytes = 1 * GiB;

  /// set, get, watch, add or compare_set. Answers at once, but for a watch, which may wait.
  void handle(ConnectionId from, const StoreMessage& request, TimePoint now, Outbox& out);
  void disconnected(ConnectionId connection);
  void expire(TimePoint now, Outbox& out);
  [[nodiscard]] std::optional<TimePoint> next_deadline() const;

 private:
  struct Entry {
    std::shared_ptr<const Bytes> value;
    std::int64_t version = 0;
  };
  struct Watch {
    ConnectionId connection;
    StoreMessage request;
    TimePoint deadline;
  };
  /// Replaces the value and answers those who watched the key; resource_exhausted when the store is full.
  [[nodiscard]] Status change(const std::string& key, std::shared_ptr<const Bytes> value, Outbox& out);
  void add(ConnectionId from, const StoreMessage& request, Outbox& out);
  void compare_set(ConnectionId from, const StoreMessage& request, Outbox& out);
  [[nodiscard]] const Entry* find(const std::string& key) const;

  std::map<std::string, Entry> entries_;
  std::vector<Watch> watches_;
  std::uint64_t bytes_ = 0;
};

}  // namespace ckpt
