/// What the ranks of this host print, line by line, each line with its rank: "[3] text".
#pragma once

#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "ckpt/result.h"
#include "os/abort_signal.h"
#include "os/unique_fd.h"

namespace ckpt {

/// Owns the reading ends and a thread that copies. Lines are never mixed; one longer than 64 KiB is cut into several.
/// Lifetime: add() before start(); destruction prints what is there and ends, also when a descendant of a rank still holds its end.
class RankOutput {
 public:
  RankOutput() = default;
  ~RankOutput();
  RankOutput(const RankOutput&) = delete;
  RankOutput& operator=(const RankOutput&) = delete;

  /// A pipe whose lines go to `target` (a descriptor that outlives this) with the rank before them. Returns the writing end.
  [[nodiscard]] Result<UniqueFd> add(std::uint32_t rank, int target);
  [[nodiscard]] Status start();

 private:
  struct Source {
    UniqueFd fd;
    std::string label;
    int target;
    std::string line = {};  // the unfinished one
  };
  void run();
  static bool copy(Source& source);
  static void print(Source& source, std::size_t size);

  std::vector<Source> sources_;
  AbortSignal quit_;
  std::thread thread_;
};

}  // namespace ckpt
