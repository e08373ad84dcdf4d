/// Work that takes time, as the C interface gives it: done by the server's thread, watched by the caller's.
#pragma once

#include <optional>
#include <string>

#include "base/deadline.h"
#include "base/recorder.h"
#include "ckpt/ckpt.h"
#include "server/caller_desk.h"

/// Thread-safe. Freed by the watching side, after the end.
struct ckpt_operation {
 public:
  explicit ckpt_operation(ckpt::Deadline deadline_in) : deadline(deadline_in), desk([this] { wake(); }) {}
  ckpt_operation(const ckpt_operation&) = delete;
  ckpt_operation& operator=(const ckpt_operation&) = delete;

  const ckpt::Deadline deadline;
  ckpt::AbortSignal stop;  ///< ends the work
  ckpt::CallerDesk desk;

  /* the working side */
  void tell_progress(ckpt::Stage stage, std::uint64_t done_bytes, std::uint64_t total_bytes);
  void end(ckpt::Result<std::string> result) CKPT_EXCLUDES(mutex_);

  /* the watching side */
  [[nodiscard]] ckpt_operation_state wait(ckpt::Duration timeout) CKPT_EXCLUDES(mutex_);
  void wait_for_end() CKPT_EXCLUDES(mutex_);
  /// As a JSON array; empty before the update asks.
  [[nodiscard]] const std::string& addresses();
  /// Null before the end. Valid while the operation lives.
  [[nodiscard]] const ckpt::Result<std::string>* result() const CKPT_EXCLUDES(mutex_);

  struct Progress {
    const char* stage;
    std::uint64_t done_bytes;
    std::uint64_t total_bytes;
  };
  [[nodiscard]] Progress progress() const CKPT_EXCLUDES(mutex_);

 private:
  void wake() CKPT_EXCLUDES(mutex_);

  mutable ckpt::Mutex mutex_;
  ckpt::ConditionVariable changed_;
  std::optional<ckpt::Result<std::string>> result_ CKPT_GUARDED_BY(mutex_);
  Progress progress_ CKPT_GUARDED_BY(mutex_){"", 0, 0};
  bool call_told_ CKPT_GUARDED_BY(mutex_) = false;
  std::string addresses_;  // of the watching side
};
