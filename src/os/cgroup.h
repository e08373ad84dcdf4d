/// The control groups that this process is in, read as files: its own group and each one above it may bound memory and processor time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ckpt {

/// Where the kernel tells it; tests lay out their own.
struct CgroupFiles {
  std::string membership = "/proc/self/cgroup";
  std::string mount = "/sys/fs/cgroup";

  /// Directories of the group of `controller` ("" is version 2) and of those above it, innermost first. In a container the path may not be there;
  /// the root of the mount, which always comes last, is then the container's own group.
  [[nodiscard]] std::vector<std::string> directories(std::string_view controller) const;
};

/// The number at the start of `text`; none for "max", "-1", or what is not there.
[[nodiscard]] std::optional<std::uint64_t> leading_number(std::string_view text);
/// A small file's text; empty where it cannot be read.
[[nodiscard]] std::string text_of(const std::string& path);
/// The number after `key` and a blank, where a line starts with them ("inactive_file 4096").
[[nodiscard]] std::optional<std::uint64_t> number_of_line(std::string_view text, std::string_view key);

/// Processor time that the tightest group may use, in whole cores, rounded up; none where no group bounds it.
[[nodiscard]] std::optional<unsigned> cgroup_cores(const CgroupFiles& files = {});

}  // namespace ckpt
