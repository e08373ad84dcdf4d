/// Safetensors files as a test writes them: any text as header.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ckpt::testing {

inline std::string safetensors(std::string_view json, std::size_t data_bytes) {
  const std::uint64_t length = json.size();
  std::string file(reinterpret_cast<const char*>(&length), sizeof length);
  file += json;
  return file + std::string(data_bytes, 'x');
}

/// A header with one tensor, `t`, of these fields.
inline std::string one(const char* entry) { return std::string(R"({"t":{)") + entry + "}}"; }

inline std::string repeated(std::string_view text, int times) {
  std::string all;
  while (times-- > 0) all += text;
  return all;
}

}  // namespace ckpt::testing
