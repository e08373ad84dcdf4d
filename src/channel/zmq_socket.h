/// One libzmq socket with its monitor, used so that nothing ever blocks: both ends of the engine channel.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/deadline.h"
#include "ckpt/result.h"
#include "os/abort_signal.h"

namespace ckpt {

struct ZmqSocketOptions {
  Duration heartbeat_interval = std::chrono::seconds(1);
  Duration heartbeat_timeout = std::chrono::seconds(10);
  std::string second_address = {};  ///< where peers of another kind come; of a sender, and bound before the first. Empty: none
};

/// REQ that binds (sender; at an abstract name only processes of this user may connect) or REP that connects (worker; lingers 1 s for its last
/// answer). Threads: one at a time. Peers are counted by the monitor. When there is none any more, every wait ends with unavailable; a sender's also
/// when another has come in place of the first, which cannot answer for it.
class ZmqSocket {
 public:
  enum class Role : std::uint8_t { request_and_bind, reply_and_connect };

  [[nodiscard]] static Result<std::unique_ptr<ZmqSocket>> open(Role role, const std::string& address, const ZmqSocketOptions& options);
  ~ZmqSocket();
  ZmqSocket(const ZmqSocket&) = delete;
  ZmqSocket& operator=(const ZmqSocket&) = delete;

  /// Until a peer has finished its handshake.
  [[nodiscard]] Status wait_for_peer(Deadline deadline, const AbortSignal& abort);
  /// Whether the last peer that came did so at the second address.
  [[nodiscard]] bool peer_came_second() const { return came_second_; }
  /// From now on nobody else can come: the files of the addresses are removed. Sender only; names without a file cannot be taken back.
  void hide_address() noexcept;
  /// Queues one message. unavailable when the peer is gone.
  [[nodiscard]] Status send(std::string_view message, Deadline deadline, const AbortSignal& abort, std::string_view what);
  /// While a receive waits, `ready` also runs whenever `fd` is readable; an error from it ends the receive.
  struct Watched {
    int fd;
    std::function<Status()> ready;
  };
  /// The next message. resource_exhausted when it is longer than `max_bytes`.
  [[nodiscard]] Result<std::string> receive(std::size_t max_bytes, Deadline deadline, const AbortSignal& abort, std::string_view what,
                                            const Watched* watched = nullptr);
  /// Waits until the peer has gone; true if it has within `timeout`.
  [[nodiscard]] bool peer_leaves_within(Duration timeout);
  /// Whether a peer is connected, by what the monitor has said so far.
  [[nodiscard]] bool has_peer();
  /// Whether one was there at any time.
  [[nodiscard]] bool had_peer() const { return had_peer_; }
  /// Whether the process of the last peer is stopped (SIGSTOP, a debugger): its heartbeat may have been missed, and still it comes back. Sender only.
  [[nodiscard]] bool peer_is_stopped();

 private:
  struct Handles;
  ZmqSocket(Role role, std::unique_ptr<Handles> handles);
  void drain_monitor();
  void peer_arrived(std::string_view address);
  [[nodiscard]] bool peer_gone();
  [[nodiscard]] Status wait(short events, Deadline deadline, const AbortSignal& abort, std::string_view what, const Watched* watched = nullptr);
  std::unique_ptr<Handles> handles_;
  const Role role_;
  int peers_ = 0;
  bool first_gone_ = false;
  int peer_pid_ = 0;
  bool had_peer_ = false;
  bool came_second_ = false;
};

}  // namespace ckpt
