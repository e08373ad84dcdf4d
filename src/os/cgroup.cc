#include "os/cgroup.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "base/bytes.h"
#include "os/file.h"

namespace ckpt {
namespace {

/// Whether the comma-separated `list` has `controller`; the empty list is version 2's.
bool names(std::string_view list, std::string_view controller) {
  if (list.empty() || controller.empty()) return list == controller;
  while (!list.empty()) {
    const std::size_t comma = list.find(',');
    if (list.substr(0, comma) == controller) return true;
    list = comma == std::string_view::npos ? std::string_view{} : list.substr(comma + 1);
  }
  return false;
}

/// Path of the group, from a line `4:cpu,cpuacct:/path`; empty where there is none.
std::string path_of(std::string_view membership, std::string_view controller) {
  while (!membership.empty()) {
    const std::size_t end = membership.find('\n');
    const std::string_view line = membership.substr(0, end);
    membership = end == std::string_view::npos ? std::string_view{} : membership.substr(end + 1);
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second != std::string_view::npos && names(line.substr(first + 1, second - first - 1), controller))
      return std::string(line.substr(second + 1));
  }
  return {};
}

unsigned whole_cores(std::uint64_t quota, std::uint64_t period) {
  const std::uint64_t cores = period == 0 ? 1 : round_up(std::max<std::uint64_t>(quota, 1), period) / period;
  return static_cast<unsigned>(std::min<std::uint64_t>(cores, std::numeric_limits<unsigned>::max()));
}

}  // namespace

std::vector<std::string> CgroupFiles::directories(std::string_view controller) const {
  std::string path = path_of(text_of(membership), controller);
  if (path.empty()) return {};
  const std::string base = controller.empty() ? mount : mount + "/" + std::string(controller);
  std::vector<std::string> found;
  while (path.size() > 1) {
    found.push_back(base + path);
    path.resize(path.rfind('/'));
  }
  found.push_back(base);
  return found;
}

std::optional<std::uint64_t> leading_number(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end == text.data()) return std::nullopt;
  return number;
}

std::string text_of(const std::string& path) {
  const Result<Bytes> bytes = read_small_file(path);
  return bytes.ok() ? std::string(as_text(*bytes)) : std::string();
}

std::optional<std::uint64_t> number_of_line(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    if (line.starts_with(key) && line.substr(key.size()).starts_with(' ')) return leading_number(line.substr(key.size() + 1));
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
  }
  return std::nullopt;
}

std::optional<unsigned> cgroup_cores(const CgroupFiles& files) {
  std::optional<unsigned> least;
  const auto consider = [&least](std::optional<std::uint64_t> quota, std::optional<std::uint64_t> period) {
    if (quota && period) least = std::min(least.value_or(std::numeric_limits<unsigned>::max()), whole_cores(*quota, *period));
  };
  for (const std::string& directory : files.directories("")) {
    const std::string text = text_of(directory + "/cpu.max");  // "200000 100000" or "max 100000"
    const std::size_t blank = text.find(' ');
    if (blank != std::string::npos) consider(leading_number(text), leading_number(std::string_view(text).substr(blank + 1)));
  }
  for (const std::string& directory : files.directories("cpu"))
    consider(leading_number(text_of(directory + "/cpu.cfs_quota_us")), leading_number(text_of(directory + "/cpu.cfs_period_us")));
  return least;
}

}  // namespace ckpt
