/// The socket between the front and one worker: whole messages, descriptors beside them, and the end of either process as an event.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/deadline.h"
#include "ckpt/result.h"
#include "os/abort_signal.h"
#include "os/unique_fd.h"

namespace ckpt {

struct ControlMessage {
  std::string text;
  std::vector<UniqueFd> fds;
};

/// One end of a SOCK_SEQPACKET pair. Threads: any may send, one receives.
class ControlSocket {
 public:
  ControlSocket() = default;
  explicit ControlSocket(UniqueFd fd) : fd_(std::move(fd)) {}
  [[nodiscard]] static Result<std::pair<ControlSocket, ControlSocket>> pair();

  /// A second descriptor of the same end.
  [[nodiscard]] Result<ControlSocket> duplicate() const;

  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] bool valid() const { return fd_.valid(); }
  void close() { fd_.reset(); }

  /// Never blocks. unavailable (peer): the other process is gone. deadline_exceeded: it has not read for so long that the socket is full.
  [[nodiscard]] Status send(std::string_view text, std::span<const int> fds = {}) const;
  /// unavailable (peer): the other process has ended or closed. deadline_exceeded, the abort's reason.
  [[nodiscard]] Result<ControlMessage> receive(Deadline deadline, const AbortSignal& abort) const;

 private:
  UniqueFd fd_;
};

}  // namespace ckpt
