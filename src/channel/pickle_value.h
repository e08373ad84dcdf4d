/// What a pickle says, as plain data: nothing of it is looked up, imported or called.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace ckpt {

using PickleIndex = std::uint32_t;  ///< place of a value in its document

struct PickleValue {
  enum class Kind : std::uint8_t {
    none,
    boolean,  ///< `integer` is 0 or 1
    integer,
    floating,
    text,  ///< UTF-8
    bytes,
    tuple,
    list,
    dict,    ///< `items`: key, value, key, value …
    global,  ///< `module`.`text`
    call,    ///< `items`: the global, the tuple of its arguments
  };
  Kind kind = Kind::none;
  std::int64_t integer = 0;
  double floating = 0;
  std::string_view text;
  std::string_view module;
  std::vector<PickleIndex> items;
};

/// Values refer to one another by index, since a pickle may name a value in several places; never in a circle, and never deep. Borrows the pickle's
/// bytes.
struct PickleDocument {
  std::vector<PickleValue> values;
  PickleIndex root = 0;
  [[nodiscard]] const PickleValue& at(PickleIndex index) const { return values[index]; }
};

}  // namespace ckpt
