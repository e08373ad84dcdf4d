/// What the environment says about the machine that is played.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace ckpt::fake {

struct Settings {
  std::string machine;  ///< processes of one name share the GPUs
  int num_devices = 2;
  std::map<int, int> slices;  ///< GPU → number of slices, where it is divided
  std::uint64_t device_bytes = std::uint64_t{2} << 30;
  std::optional<std::string> visible;
  std::uint64_t seed = 1;
  std::chrono::microseconds hold{5000};
  bool read_only_registration = true;
  int driver_version = 12080;
};

/// Ends the process with a line on what cannot be read: a test must not run on another machine than it asked for.
[[nodiscard]] Settings read_settings();

/// The text of a variable, where it is set.
[[nodiscard]] std::optional<std::string> environment_text(const char* name);

}  // namespace ckpt::fake
