#include "channel/deliver_abort.h"

namespace ckpt {

bool deliver_abort(ZmqSocket& socket, const std::string& message, bool awaiting_answer, Deadline deadline) {
  const AbortSignal never;
  for (bool awaiting = awaiting_answer;; awaiting = true) {
    if (awaiting && !socket.receive(kMaxAnswerBytes, deadline, never, "answer before abort").ok()) break;
    if (!socket.send(message, deadline, never, "abort").ok()) break;
  }
  return !socket.has_peer();
}

}  // namespace ckpt
