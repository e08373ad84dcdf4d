/// The end of a session that did not go well: the worker is told until it lets go.
#pragma once

#include <string>

#include "channel/zmq_socket.h"

namespace ckpt {

/// Longest answer of a worker that is read.
inline constexpr std::size_t kMaxAnswerBytes = 1u << 20;

/// Sends `message` to the worker at `socket` (as REQ), after the answer that it still owes if `awaiting_answer`, until it has left. A worker that has
/// not got its handle yet answers the message with an error, and leaves after one more. True when nobody is connected any more; false at `deadline`.
[[nodiscard]] bool deliver_abort(ZmqSocket& socket, const std::string& message, bool awaiting_answer, Deadline deadline);

}  // namespace ckpt
