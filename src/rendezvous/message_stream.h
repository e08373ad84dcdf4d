/// Store messages over a non-blocking socket: what goes out waits in a queue, what comes in is put together piece by piece.
#pragma once

#include <deque>
#include <functional>

#include "os/socket.h"
#include "rendezvous/store_message.h"

namespace ckpt {

/// Messages on their way out. Values are shared, never copied.
class SendQueue {
 public:
  void push(const StoreMessage& message) { entries_.push_back({encode_head(message), message.value}); }
  void push(std::span<const std::byte> raw) { entries_.push_back({Bytes(raw.begin(), raw.end()), nullptr}); }
  /// Writes what the socket takes now. unavailable (peer) when it takes nothing any more.
  [[nodiscard]] Status flush(const Socket& socket);
  [[nodiscard]] bool empty() const { return entries_.empty(); }

 private:
  struct Entry {
    Bytes head;
    std::shared_ptr<const Bytes> value;
  };
  void drop_sent(std::size_t sent);
  std::deque<Entry> entries_;
  std::size_t sent_ = 0;  // of the first entry
};

/// Whether more may come.
enum class StreamState : std::uint8_t { open, closed };

/// Reads what has come, at most about `budget` bytes, and hands on each message that is complete.
[[nodiscard]] Result<StreamState> read_messages(Socket& socket, MessageReader& reader, std::size_t budget,
                                                const std::function<Status(StoreMessage)>& handle);

}  // namespace ckpt
