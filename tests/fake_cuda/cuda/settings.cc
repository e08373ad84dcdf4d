#include "cuda/settings.h"

#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string_view>

namespace ckpt::fake {
namespace {

constexpr std::size_t kLongestMachine = 20;  // a handle has room for it

[[noreturn]] void refuse(const char* name, const std::string& text) {
  std::fprintf(stderr, "software GPU: %s=\"%s\" cannot be read\n", name, text.c_str());
  std::abort();
}

std::uint64_t number(const char* name, std::uint64_t otherwise) {
  const auto text = environment_text(name);
  if (!text) return otherwise;
  char* end = nullptr;
  const std::uint64_t value = std::strtoull(text->c_str(), &end, 10);
  const std::string_view unit = end;
  if (end == text->c_str()) refuse(name, *text);
  if (unit.empty()) return value;
  if (unit == "KiB") return value << 10;
  if (unit == "MiB") return value << 20;
  if (unit == "GiB") return value << 30;
  refuse(name, *text);
}

std::map<int, int> read_slices() {
  constexpr const char* name = "CKPT_FAKE_CUDA_SLICES";
  std::map<int, int> slices;
  const std::string text = environment_text(name).value_or("");
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) {
    int gpu = 0;
    int count = 0;
    if (std::sscanf(part.c_str(), "%d:%d", &gpu, &count) != 2 || count < 1) refuse(name, text);
    slices[gpu] = count;
  }
  return slices;
}

}  // namespace

std::optional<std::string> environment_text(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? std::nullopt : std::optional<std::string>(text);
}

Settings read_settings() {
  Settings settings;
  settings.machine = environment_text("CKPT_FAKE_CUDA_MACHINE").value_or("0").substr(0, kLongestMachine);
  settings.num_devices = static_cast<int>(number("CKPT_FAKE_CUDA_DEVICES", 2));
  settings.slices = read_slices();
  settings.device_bytes = number("CKPT_FAKE_CUDA_MEMORY", settings.device_bytes);
  settings.visible = environment_text("CUDA_VISIBLE_DEVICES");
  settings.seed = number("CKPT_FAKE_CUDA_SEED", settings.seed);
  settings.hold = std::chrono::microseconds(number("CKPT_FAKE_CUDA_HOLD_US", 5000));
  settings.read_only_registration = number("CKPT_FAKE_CUDA_READ_ONLY", 1) != 0;
  settings.driver_version = static_cast<int>(number("CKPT_FAKE_CUDA_DRIVER", 12080));
  return settings;
}

}  // namespace ckpt::fake
