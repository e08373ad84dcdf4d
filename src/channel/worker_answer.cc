#include "channel/worker_answer.h"

#include "channel/peer_text.h"

namespace ckpt {

Status judge_answer(std::string_view what, std::string_view answer) {
  if (answer.empty()) return Status::success();
  return {StatusCode::remote_error, Scope::peer, "{}: the worker answered: {}", what, peer_text(answer)};
}

}  // namespace ckpt
