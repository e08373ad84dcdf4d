#include "rendezvous/store_message.h"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/bytes.h"
#include "base/fault_point.h"
#include "os/error.h"

namespace ckpt {
namespace {

constexpr char kMagic[] = "CKPTSTR1";

template <typename T>
void put(Bytes& bytes, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i) bytes.push_back(static_cast<std::byte>(static_cast<std::uint64_t>(value) >> (8 * i)));
}

template <typename T>
T get(std::span<const std::byte> bytes, std::size_t offset) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) value |= static_cast<std::uint64_t>(bytes[offset + i]) << (8 * i);
  return static_cast<T>(value);
}

bool known(std::uint8_t type) {
  return (type >= static_cast<std::uint8_t>(MessageType::heartbeat) && type <= static_cast<std::uint8_t>(MessageType::compare_set)) ||
         (type >= static_cast<std::uint8_t>(MessageType::reply) && type <= static_cast<std::uint8_t>(MessageType::failed));
}

std::string_view type_name(MessageType type) {
  switch (type) {
    case MessageType::heartbeat: return "heartbeat";
    case MessageType::join: return "join";
    case MessageType::gather: return "gather";
    case MessageType::abort: return "abort";
    case MessageType::leave: return "leave";
    case MessageType::set: return "set";
    case MessageType::get: return "get";
    case MessageType::watch: return "watch";
    case MessageType::add: return "add";
    case MessageType::compare_set: return "compare_set";
    case MessageType::reply: return "reply";
    case MessageType::refused: return "refused";
    case MessageType::joined: return "joined";
    case MessageType::part: return "part";
    case MessageType::gathered: return "gathered";
    case MessageType::failed: return "failed";
  }
  return "?";
}

}  // namespace

std::string StoreMessage::name() const { return key.empty() ? std::string(type_name(type)) : fmt::format("{} \"{}\"", type_name(type), key); }

Bytes encode_head(const StoreMessage& message) {
  Bytes bytes;
  bytes.reserve(kHeaderBytes + message.key.size());
  put(bytes, static_cast<std::uint32_t>(message.bytes().size()));
  put(bytes, static_cast<std::uint16_t>(message.key.size()));
  put(bytes, static_cast<std::uint8_t>(message.type));
  put(bytes, std::uint8_t{0});
  put(bytes, message.rank);
  put(bytes, std::uint32_t{0});
  put(bytes, message.id);
  put(bytes, message.epoch);
  put(bytes, message.number);
  put(bytes, message.timeout_ns);
  const Bytes key = to_bytes(message.key);
  bytes.insert(bytes.end(), key.begin(), key.end());
  return bytes;
}

std::span<std::byte> MessageReader::room() {
  if (part_ == Part::header) return std::span(header_).subspan(have_);
  if (part_ == Part::key) return std::as_writable_bytes(std::span(message_.key)).subspan(have_);
  return std::span(value_).subspan(have_);
}

Status MessageReader::filled(std::size_t size) {
  have_ += size;
  if (part_ == Part::header && have_ == kHeaderBytes) {
    CKPT_RETURN_IF_ERROR(read_header());
    have_ = 0;
    part_ = Part::key;
  }
  if (part_ == Part::key && have_ == message_.key.size()) {
    have_ = 0;
    part_ = Part::value;
  }
  if (part_ == Part::value && have_ == value_.size()) part_ = Part::complete;
  return Status::success();
}

Status MessageReader::read_header() {
  const auto value_bytes = get<std::uint32_t>(header_, 0);
  const auto key_bytes = get<std::uint16_t>(header_, 4);
  const auto type = get<std::uint8_t>(header_, 6);
  if (!known(type) || get<std::uint8_t>(header_, 7) != 0 || get<std::uint32_t>(header_, 12) != 0)
    return {StatusCode::data_corruption, Scope::peer, "store message of type {}: unknown, or its reserved bytes are not 0", type};
  if (key_bytes > kMaxKeyBytes || value_bytes > kMaxValueBytes)
    return {StatusCode::data_corruption,
            Scope::peer,
            "store message with a key of {} and a value of {} bytes: the limits are {} and {}",
            key_bytes,
            value_bytes,
            kMaxKeyBytes,
            kMaxValueBytes};
  message_ =
      StoreMessage{static_cast<MessageType>(type), get<std::uint32_t>(header_, 8),  get<std::uint64_t>(header_, 16), get<std::uint64_t>(header_, 24),
                   get<std::int64_t>(header_, 32), get<std::uint64_t>(header_, 40), std::string(key_bytes, '\0')};
  value_.resize(value_bytes);
  return Status::success();
}

std::optional<StoreMessage> MessageReader::take() {
  if (part_ != Part::complete) return std::nullopt;
  part_ = Part::header;
  have_ = 0;
  if (!value_.empty()) message_.value = std::make_shared<const Bytes>(std::move(value_));
  value_ = {};
  return std::move(message_);
}

std::array<std::byte, kMagicBytes> store_magic() {
  std::array<std::byte, kMagicBytes> magic{};
  std::memcpy(magic.data(), kMagic, kMagicBytes);
  return magic;
}

Result<Hello> make_hello(const std::string& token) {
  if (token.size() > kMaxTokenBytes || token.find('\0') != std::string::npos)
    return Status(StatusCode::invalid_argument, Scope::operation, "store token of {} bytes: at most {} are allowed, none of them NUL", token.size(),
                  kMaxTokenBytes);
  Hello hello{};
  const auto magic = store_magic();
  std::copy(magic.begin(), magic.end(), hello.begin());
  std::memcpy(hello.data() + kMagicBytes, token.data(), token.size());
  return hello;
}

bool same_hello(const Hello& a, const Hello& b) {
  volatile std::uint8_t difference = 0;  // volatile: the loop may not end early
  for (std::size_t i = 0; i < a.size(); ++i) difference = static_cast<std::uint8_t>(difference | static_cast<std::uint8_t>(a[i] ^ b[i]));
  return difference == 0;
}

Result<std::string> random_token() {
  std::array<unsigned char, 16> bits{};
  CKPT_FAULT_POINT("sys.getrandom");
  if (::getrandom(bits.data(), bits.size(), 0) != static_cast<ssize_t>(bits.size())) return errno_status(errno, "make a random token");
  return to_hex({reinterpret_cast<const char*>(bits.data()), bits.size()});
}

}  // namespace ckpt
