#include "channel/pickle_globals.h"

#include <algorithm>

#include "manifest/dtype.h"

namespace ckpt {
namespace {

constexpr std::size_t kMaxNameBytes = 200;

bool is_identifier_byte(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }

/// "a.b.c", as modules and nested classes are written.
bool is_dotted_name(std::string_view text) {
  return !text.empty() && text.size() <= kMaxNameBytes &&
         std::all_of(text.begin(), text.end(), [](char c) { return is_identifier_byte(c) || c == '.'; });
}

bool names_an_exception(std::string_view name) {
  constexpr std::string_view kLastWords[] = {"Error", "Exception", "ExceptionGroup", "Warning", "Exit", "Interrupt", "Iteration"};
  return std::any_of(std::begin(kLastWords), std::end(kLastWords), [name](std::string_view word) { return name.ends_with(word); });
}

}  // namespace

PickleGlobal pickle_global(std::string_view module, std::string_view name) {
  if (module == "torch" && name == "Size") return PickleGlobal::size;
  if (module == "torch" && (name == "Tensor" || dtype_from_torch_name(name))) return PickleGlobal::named;
  if (module == "torch.storage" && name == "TypedStorage") return PickleGlobal::named;
  if (module == "torch.multiprocessing.reductions" && name == "rebuild_cuda_tensor") return PickleGlobal::named;
  if (is_dotted_name(module) && is_dotted_name(name) && names_an_exception(name)) return PickleGlobal::exception;
  return PickleGlobal::refused;
}

}  // namespace ckpt
