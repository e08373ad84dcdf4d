#include "channel/worker_answer.h"

#include "channel/peer_text.h"
#include "channel/pickle_reader.h"
#include "channel/pickle_text.h"

namespace ckpt {
namespace {

constexpr std::size_t kMaxPickledValues = 10'000;

/// Most workers send text; those of checkpoint-engine 0.2.1 a pickled exception. No text starts with the byte of a pickle: it is no UTF-8.
std::string as_words(std::string_view answer) {
  if (!answer.starts_with('\x80')) return peer_text(answer);
  const Result<PickleDocument> pickle = read_pickle(answer, {kMaxPickledValues});
  if (!pickle.ok()) return fmt::format("a pickle that is not read ({}): {}", pickle.status().message(), peer_text(answer, 400));
  return pickled_exception(*pickle).value_or("a pickle of " + pickle_repr(*pickle, 400));
}

}  // namespace

Status judge_answer(std::string_view what, std::string_view answer) {
  if (answer.empty()) return Status::success();
  return {StatusCode::remote_error, Scope::peer, "{}: the worker answered: {}", what, as_words(answer)};
}

}  // namespace ckpt
