// fuzz: base
// Crashes on purpose when its input spells a word: proof that targets are instrumented and that fuzz/run sees a crash.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (size >= 4 && text[0] == 'c' && text[1] == 'k' && text[2] == 'p' && text[3] == 't') std::abort();
  return 0;
}
