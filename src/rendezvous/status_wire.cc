#include "rendezvous/status_wire.h"

#include <algorithm>

namespace ckpt {
namespace {

constexpr std::size_t kMaxTextBytes = 64 * KiB;

void put_u32(Bytes& bytes, std::uint32_t value) {
  for (unsigned i = 0; i < 4; ++i) bytes.push_back(static_cast<std::byte>(value >> (8 * i)));
}

void put_text(Bytes& bytes, std::string_view text) {
  const Bytes cut = to_bytes(text.substr(0, kMaxTextBytes));
  put_u32(bytes, static_cast<std::uint32_t>(cut.size()));
  bytes.insert(bytes.end(), cut.begin(), cut.end());
}

Status not_a_status(std::string_view why) { return {StatusCode::data_corruption, Scope::peer, "a status from another rank cannot be read: {}", why}; }

/// Takes fields off the front; `ok` falls once there are too few bytes.
struct Cursor {
  std::span<const std::byte> rest;
  bool ok = true;

  std::uint32_t u32() {
    if (rest.size() < 4) {
      ok = false;
      return 0;
    }
    std::uint32_t value = 0;
    for (unsigned i = 0; i < 4; ++i) value |= static_cast<std::uint32_t>(rest[i]) << (8 * i);
    rest = rest.subspan(4);
    return value;
  }
  std::string text() {
    const std::uint32_t size = u32();
    if (size > kMaxTextBytes || size > rest.size()) {
      ok = false;
      return {};
    }
    std::string text(reinterpret_cast<const char*>(rest.data()), size);
    rest = rest.subspan(size);
    return text;
  }
};

}  // namespace

Bytes encode_status(const Status& status) {
  Bytes bytes;
  if (status.ok()) return bytes;
  bytes.push_back(static_cast<std::byte>(status.code()));
  bytes.push_back(static_cast<std::byte>(status.scope()));
  put_u32(bytes, static_cast<std::uint32_t>(status.rank().value_or(-1)));
  put_text(bytes, status.stage());
  put_text(bytes, status.message());
  put_text(bytes, status.advice());
  return bytes;
}

Status decode_status(std::span<const std::byte> bytes) {
  if (bytes.empty()) return Status::success();
  if (bytes.size() < 2) return not_a_status("it ends too early");
  const auto code = static_cast<std::uint8_t>(bytes[0]);
  const auto scope = static_cast<std::uint8_t>(bytes[1]);
  if (code == 0 || code >= kStatusCodes.size() || scope > static_cast<std::uint8_t>(Scope::process)) return not_a_status("unknown code or scope");
  Cursor cursor{bytes.subspan(2)};
  const auto rank = static_cast<std::int32_t>(cursor.u32());
  const std::string stage = cursor.text();
  std::string message = cursor.text();
  const std::string advice = cursor.text();
  if (!cursor.ok || !cursor.rest.empty() || rank < -1) return not_a_status("its fields do not fit its length");
  Status status = Status::of(static_cast<StatusCode>(code), static_cast<Scope>(scope), std::move(message));
  if (rank >= 0) status = status.at_rank(rank);
  if (!stage.empty()) status = status.at_stage(stage);
  if (!advice.empty()) status = status.advise(advice);
  return status;
}

}  // namespace ckpt
