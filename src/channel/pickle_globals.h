/// The names that may stand in a pickle of the engine channel.
#pragma once

#include <cstdint>
#include <string_view>

namespace ckpt {

enum class PickleGlobal : std::uint8_t {
  refused,
  named,      ///< torch.Tensor, torch.bfloat16, …: stands for itself
  size,       ///< torch.Size: takes one tuple
  exception,  ///< a class of exceptions, of whatever module: takes what it was raised with
};

/// What `module`.`name` is. Exceptions are known by the last word of their name: they are read as text, never looked up.
[[nodiscard]] PickleGlobal pickle_global(std::string_view module, std::string_view name);

}  // namespace ckpt
