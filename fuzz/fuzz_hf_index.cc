// fuzz: checkpoint manifest base
#include <filesystem>

#include "base/check.h"
#include "checkpoint/hf_index.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto map = ckpt::parse_hf_index({reinterpret_cast<const char*>(data), size});
  if (!map.ok()) return 0;
  const std::filesystem::path root("/models/one");
  for (const auto& [name, file] : *map) {
    const std::string inside = (root / file).lexically_normal().string();
    CKPT_CHECK(inside.starts_with("/models/one/"));
    CKPT_CHECK(file.find('\0') == std::string::npos);
  }
  return 0;
}
