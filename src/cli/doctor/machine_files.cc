#include "cli/doctor/machine_files.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>

#include "base/bytes.h"

namespace ckpt {
namespace {

std::optional<std::uint64_t> leading_number(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{}) return std::nullopt;
  return number;
}

}  // namespace

std::optional<std::string> MachineFiles::line(std::string_view path) const {
  std::ifstream file(root_ + std::string(path));
  std::string text;
  if (!std::getline(file, text)) return std::nullopt;
  return text;
}

std::optional<std::uint64_t> MachineFiles::number(std::string_view path) const {
  const auto text = line(path);
  return text ? leading_number(*text) : std::nullopt;
}

std::optional<std::uint64_t> MachineFiles::meminfo(std::string_view key) const {
  std::ifstream file(root_ + "/proc/meminfo");
  for (std::string text; std::getline(file, text);) {
    if (!text.starts_with(std::string(key) + ":")) continue;
    const auto number = leading_number(std::string_view(text).substr(std::min(text.size(), text.find_first_of("0123456789"))));
    if (!number) return std::nullopt;
    return text.ends_with(" kB") ? *number * KiB : *number;
  }
  return std::nullopt;
}

std::vector<std::string> MachineFiles::names(std::string_view directory, std::string_view prefix) const {
  std::vector<std::string> found;
  std::error_code error;
  for (std::filesystem::directory_iterator at(root_ + std::string(directory), error), end; !error && at != end; at.increment(error))
    if (const std::string name = at->path().filename(); name.starts_with(prefix)) found.push_back(name);
  std::ranges::sort(found);
  return found;
}

std::vector<std::string> MachineFiles::cgroups() const {
  std::vector<std::string> found;
  std::ifstream file(root_ + "/proc/self/cgroup");
  for (std::string text; std::getline(file, text);) {
    if (!text.starts_with("0::/")) continue;  // the line of the unified hierarchy
    for (std::filesystem::path path = text.substr(3);; path = path.parent_path()) {
      found.push_back("/sys/fs/cgroup" + (path == "/" ? std::string() : path.string()));
      if (path == "/" || path.empty()) break;
    }
  }
  return found;
}

std::string chosen(std::string_view choices) {
  const auto begin = choices.find('[');
  const auto end = choices.find(']', begin == std::string_view::npos ? 0 : begin);
  if (begin == std::string_view::npos || end == std::string_view::npos) return std::string(choices);
  return std::string(choices.substr(begin + 1, end - begin - 1));
}

}  // namespace ckpt
