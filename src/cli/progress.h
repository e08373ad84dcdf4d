/// Progress of long work on standard error: bars on a terminal, plain lines elsewhere, nothing with --quiet.
#pragma once

#include <array>
#include <cstdint>

#include "base/recorder.h"
#include "base/thread_annotations.h"

namespace ckpt {

/// Thread-safe. One line a stage: rate and time left while it runs, bytes and rate when it has ended.
class Progress {
 public:
  enum class Mode : std::uint8_t { silent, lines, bars };
  explicit Progress(Mode mode);
  ~Progress();  ///< ends the line of a bar

  void update(Stage stage, std::uint64_t done_bytes, std::uint64_t total_bytes) CKPT_EXCLUDES(mutex_);

 private:
  struct StageState {
    std::int64_t begin_ns = 0;
    std::int64_t printed_ns = 0;
    bool ended = false;
  };
  Mode mode_;
  Mutex mutex_;
  std::array<StageState, kNumStages> stages_ CKPT_GUARDED_BY(mutex_);
  bool open_line_ CKPT_GUARDED_BY(mutex_) = false;
};

}  // namespace ckpt
