/// The store's messages and their wire form. docs/format/store.md has it byte by byte, with vectors that a test reads.
///
///   connection   client: hello (72 bytes)   server: magic (8 bytes)   then messages both ways
///   message      |header, 48 bytes|key, ≤ 1 KiB|value, ≤ 64 MiB|
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/bytes.h"
#include "ckpt/result.h"

namespace ckpt {

/// Requests of a client, then what the server says. Values are on the wire.
enum class MessageType : std::uint8_t {
  heartbeat = 1,     ///< either way: the sender lives
  join = 2,          ///< rank, number = num_ranks, epoch = the one that failed (0: none yet)
  gather = 3,        ///< epoch, key = what, value = this rank's part
  abort = 4,         ///< epoch, value = status
  leave = 5,         ///< epoch
  set = 6,           ///< key, value
  get = 7,           ///< key
  watch = 8,         ///< key, number = version already seen (0: none)
  add = 9,           ///< key, number = what to add
  compare_set = 10,  ///< key, number = expected version (0: absent), value
  reply = 32,        ///< id; number and value by request
  refused = 33,      ///< id; value = status
  joined = 34,       ///< id; epoch
  part = 35,         ///< id of the gather; rank; value; only parts that are not empty and not the receiver's own
  gathered = 36,     ///< id: all parts have been sent
  failed = 37,       ///< epoch; value = status: the same for everyone
};

inline constexpr std::size_t kMaxKeyBytes = 1024;
inline constexpr std::size_t kMaxValueBytes = 64 * MiB;
inline constexpr std::size_t kHeaderBytes = 48;

/// One message. Fields that a type does not use are 0.
struct StoreMessage {
  MessageType type = MessageType::heartbeat;
  std::uint32_t rank = 0;
  std::uint64_t id = 0;     ///< of the request; its answers repeat it
  std::uint64_t epoch = 0;  ///< 0: none
  std::int64_t number = 0;
  std::uint64_t timeout_ns = 0;  ///< how long the server may let this request wait
  std::string key = {};
  std::shared_ptr<const Bytes> value = {};  ///< null: empty. Shared: one part of a gather goes to every rank without a copy

  [[nodiscard]] std::span<const std::byte> bytes() const { return value ? std::span<const std::byte>(*value) : std::span<const std::byte>(); }
  [[nodiscard]] std::string name() const;  ///< `gather "metas"`, for errors
};

/// Header and key; the value follows as it is. Key and value are within their bounds (checked by the caller).
[[nodiscard]] Bytes encode_head(const StoreMessage& message);

/// Puts messages together from bytes in pieces of any size. Pure: a fuzz target feeds it.
/// Invariant: memory taken is at most kHeaderBytes + kMaxKeyBytes + kMaxValueBytes, and only after the header has been checked.
class MessageReader {
 public:
  /// Where the next bytes go; never empty.
  [[nodiscard]] std::span<std::byte> room();
  /// `size` bytes of room() have been filled. data_corruption (peer): not a header; the reader is useless from then on.
  [[nodiscard]] Status filled(std::size_t size);
  /// The message that is complete, once.
  [[nodiscard]] std::optional<StoreMessage> take();

 private:
  Status read_header();
  std::array<std::byte, kHeaderBytes> header_{};
  StoreMessage message_;
  Bytes value_;
  std::size_t have_ = 0;  // of the part under way
  enum class Part : std::uint8_t { header, key, value, complete } part_ = Part::header;
};

/// Opens a connection: who the client is, before anything else. The token is compared in constant time; no length of it is on the wire.
inline constexpr std::size_t kMagicBytes = 8;
inline constexpr std::size_t kMaxTokenBytes = 64;
using Hello = std::array<std::byte, kMagicBytes + kMaxTokenBytes>;

[[nodiscard]] std::array<std::byte, kMagicBytes> store_magic();
/// invalid_argument: longer than 64 bytes, or with a NUL.
[[nodiscard]] Result<Hello> make_hello(const std::string& token);
/// Whether two hellos are equal, in a time that does not depend on where they differ.
[[nodiscard]] bool same_hello(const Hello& a, const Hello& b);
/// 128 bits from the system, as text.
[[nodiscard]] Result<std::string> random_token();

}  // namespace ckpt
