// fuzz: channel base
#include "base/check.h"
#include "channel/peer_text.h"
#include "channel/pickle_reader.h"
#include "channel/pickle_text.h"
#include "channel/worker_answer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const ckpt::Result<ckpt::PickleDocument> document = ckpt::read_pickle(bytes);
  if (document.ok()) {
    const std::string text = ckpt::pickle_repr(*document, 1000);
    CKPT_CHECK(text.size() < 10'000);  // however often the pickle names a value
    CKPT_CHECK(ckpt::is_utf8(text));
    static_cast<void>(ckpt::pickled_exception(*document));
  }
  // Whatever a worker answers, the error is text.
  const ckpt::Status status = ckpt::judge_answer("bucket 0", bytes);
  CKPT_CHECK(status.ok() == bytes.empty());
  CKPT_CHECK(ckpt::is_utf8(status.message()));
  return 0;
}
