/// Little-endian fields in a byte string, for the messages of this library.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace ckpt {

static_assert(std::endian::native == std::endian::little, "fields are copied as they lie in memory");

/// Appends fields to a string.
class WireWriter {
 public:
  void u8(std::uint8_t value) { raw(&value, sizeof value); }
  void u32(std::uint32_t value) { raw(&value, sizeof value); }
  void u64(std::uint64_t value) { raw(&value, sizeof value); }
  void text(std::string_view value) {
    u32(static_cast<std::uint32_t>(value.size()));
    out_.append(value);
  }
  [[nodiscard]] std::string take() { return std::move(out_); }

 private:
  void raw(const void* data, std::size_t bytes) { out_.append(static_cast<const char*>(data), bytes); }
  std::string out_;
};

/// Reads them back. After the first field that does not fit, everything reads as zero and ok() is false: check once at the end, and before
/// using a count, `fits(count, least bytes an item takes)`.
class WireReader {
 public:
  explicit WireReader(std::string_view in) : in_(in) {}
  [[nodiscard]] std::uint8_t u8() { return number<std::uint8_t>(); }
  [[nodiscard]] std::uint32_t u32() { return number<std::uint32_t>(); }
  [[nodiscard]] std::uint64_t u64() { return number<std::uint64_t>(); }
  [[nodiscard]] std::string_view text() {
    const std::uint32_t size = u32();
    if (!fits(size, 1)) return {};
    const std::string_view value = in_.substr(0, size);
    in_.remove_prefix(size);
    return value;
  }
  /// Whether `count` items of at least `item_bytes` can still follow; else the reader fails.
  [[nodiscard]] bool fits(std::uint64_t count, std::size_t item_bytes) {
    if (count > in_.size() / item_bytes) ok_ = false;
    return ok_;
  }
  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] bool finished() const { return ok_ && in_.empty(); }

 private:
  template <typename T>
  T number() {
    T value{};
    if (in_.size() < sizeof value) ok_ = false;
    if (!ok_) return T{};
    std::memcpy(&value, in_.data(), sizeof value);
    in_.remove_prefix(sizeof value);
    return value;
  }
  std::string_view in_;
  bool ok_ = true;
};

}  // namespace ckpt
