// fuzz: rendezvous os base
// What comes over a store's connection: messages in pieces, and the statuses in them. What was read is written again as it came.
#include <algorithm>

#include "base/check.h"
#include "rendezvous/status_wire.h"
#include "rendezvous/store_message.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  ckpt::MessageReader reader;
  for (std::size_t done = 0, start = 0; done < size;) {
    const auto room = reader.room();
    CKPT_CHECK(!room.empty());
    const std::size_t piece = std::min(room.size(), size - done);
    std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(done), piece, room.begin());
    done += piece;
    if (!reader.filled(piece).ok()) break;
    if (const auto message = reader.take()) {
      ckpt::Bytes again = ckpt::encode_head(*message);
      again.insert(again.end(), message->bytes().begin(), message->bytes().end());
      CKPT_CHECK(std::equal(again.begin(), again.end(), bytes.begin() + static_cast<std::ptrdiff_t>(start),
                            bytes.begin() + static_cast<std::ptrdiff_t>(done)));
      start = done;
      static_cast<void>(ckpt::decode_status(message->bytes()).to_string());
    }
  }
  const ckpt::Status status = ckpt::decode_status(bytes);
  CKPT_CHECK(ckpt::decode_status(ckpt::encode_status(status)) == status);
  return 0;
}
