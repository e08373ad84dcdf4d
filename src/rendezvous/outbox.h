/// What the store's state answers: messages and the connections they go to. The server sends them; tests read them.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "base/deadline.h"
#include "rendezvous/status_wire.h"
#include "rendezvous/store_message.h"

namespace ckpt {

using ConnectionId = std::uint64_t;
inline constexpr ConnectionId kEveryone = 0;  ///< as a receiver: all connections

struct Outgoing {
  ConnectionId to;
  StoreMessage message;
};

class Outbox {
 public:
  void send(ConnectionId to, StoreMessage message) { messages_.push_back({to, std::move(message)}); }
  void refuse(ConnectionId to, std::uint64_t id, const Status& why) {
    send(to, {.type = MessageType::refused, .id = id, .value = std::make_shared<const Bytes>(encode_status(why))});
  }
  [[nodiscard]] std::vector<Outgoing> take() { return std::exchange(messages_, {}); }
  [[nodiscard]] bool empty() const { return messages_.empty(); }

 private:
  std::vector<Outgoing> messages_;
};

/// When a request that may wait `timeout_ns` from `now` is overdue; saturates.
[[nodiscard]] inline TimePoint due_time(TimePoint now, std::uint64_t timeout_ns) {
  const auto most = static_cast<std::uint64_t>((TimePoint::max() - now).count());
  return now + Duration(static_cast<std::int64_t>(std::min(timeout_ns, most)));
}

}  // namespace ckpt
