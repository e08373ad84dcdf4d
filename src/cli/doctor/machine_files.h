/// The text files in which Linux describes a machine (/proc, /sys), under a root that tests replace.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ckpt {

/// Reads small files of the system. Absent or unreadable files are nullopt or empty: a machine without them is no error.
class MachineFiles {
 public:
  explicit MachineFiles(std::string root = "") : root_(std::move(root)) {}

  /// Before the leading "/" of all paths: empty on the machine itself.
  [[nodiscard]] const std::string& root() const { return root_; }
  /// First line of the file at the absolute path `path`, without its end.
  [[nodiscard]] std::optional<std::string> line(std::string_view path) const;
  /// First line as a number; "max" and anything else that is no number: nullopt.
  [[nodiscard]] std::optional<std::uint64_t> number(std::string_view path) const;
  /// Value in bytes of `key` in /proc/meminfo; a count where the line has no unit.
  [[nodiscard]] std::optional<std::uint64_t> meminfo(std::string_view key) const;
  /// Names in the directory that start with `prefix`, sorted.
  [[nodiscard]] std::vector<std::string> names(std::string_view directory, std::string_view prefix = "") const;
  /// The directories of this process's cgroup (v2) from the innermost to the root of the hierarchy; each with its parents' limits in force.
  [[nodiscard]] std::vector<std::string> cgroups() const;

 private:
  std::string root_;
};

/// "[always] madvise never" → "always": how the kernel marks a choice.
[[nodiscard]] std::string chosen(std::string_view choices);

}  // namespace ckpt
