/// The stack and memo of the pickle machine: where values are made, put together and named.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "channel/pickle_reader.h"
#include "channel/pickle_value.h"

namespace ckpt {

/// Every method leaves the first thing that did not fit in `problem()` and does nothing harmful afterwards: whoever drives it looks once an opcode.
class PickleStack {
 public:
  using Kind = PickleValue::Kind;
  using Items = std::vector<PickleIndex>;

  explicit PickleStack(const PickleLimits& limits) : limits_(limits) {}
  [[nodiscard]] const std::string& problem() const { return problem_; }
  void fail(std::string problem);

  void push(PickleValue value);
  void push_integer(Kind kind, std::int64_t value) { push({kind, value, 0, {}, {}, {}}); }
  void push_long(std::string_view raw);   ///< little-endian two's complement of at most 8 bytes
  void push_float(std::string_view raw);  ///< 8 bytes, the highest first
  void push_text(std::string_view value);
  void push_bytes(std::string_view value) { push({Kind::bytes, 0, 0, value, {}, {}}); }
  void push_items(Kind kind, Items items) { push({kind, 0, 0, {}, {}, std::move(items)}); }
  void push_global(std::string_view module, std::string_view name);
  void push_stack_global();  ///< module and name from the stack
  void push_call();          ///< callee and arguments from the stack

  void mark() { marks_.push_back(stack_.size()); }
  /// What lies below the last mark is out of reach.
  [[nodiscard]] Items pop(std::size_t count);
  [[nodiscard]] Items pop_to_mark();
  /// Adds to the list or dict on top.
  void extend(Kind kind, const Items& items);

  void memoize() { memoize(memo_.size()); }
  void memoize(std::uint64_t place);
  void recall(std::uint64_t place);

  /// The last value left, with all that it holds.
  [[nodiscard]] PickleDocument finish();

 private:
  [[nodiscard]] std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  [[nodiscard]] bool is_shape(PickleIndex index) const;
  [[nodiscard]] int height(PickleIndex index, int allowed);

  const PickleLimits limits_;
  std::string problem_;
  std::vector<PickleIndex> stack_;
  std::vector<std::size_t> marks_;
  std::vector<PickleIndex> memo_;
  std::vector<int> heights_;
  PickleDocument document_;
};

}  // namespace ckpt
