/// Open sessions on disk, so that a worker that waits for a dead sender can be freed by the next one.
///
///   <journal dir>/<name>.session     lines: format, address, dialect, worker key, then "asked" once the engine was asked to send the worker,
///                                    "again" when it has been there and may come once more, "native" when it came and speaks natively;
///                                    locked (flock) while the owner lives. Without "asked" nobody can be waiting.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/deadline.h"
#include "ckpt/result.h"
#include "os/unique_fd.h"

namespace ckpt {

struct JournaledSession {
  std::string address;
  std::string worker_key;
  bool native = false;  ///< the last worker that came is, or none of another kind is served
  bool asked = false;
  bool again = false;
};

/// One entry, held. Removed from disk when it ends, unless it was left.
class JournalEntry {
 public:
  /// Written and locked before it has its final name: a reader never sees half of it.
  [[nodiscard]] static Result<JournalEntry> create(const std::string& directory, const JournaledSession& session);
  JournalEntry(JournalEntry&& other) noexcept : fd_(std::move(other.fd_)), path_(std::exchange(other.path_, {})) {}
  JournalEntry& operator=(JournalEntry&&) = delete;
  ~JournalEntry();

  /// From now on a worker may come at any time.
  void mark_asked() noexcept;
  /// The worker has finished, and may come once more within a moment.
  void mark_again() noexcept;
  /// The worker has come, and looks itself whether its sender lives.
  void mark_native() noexcept;
  /// Keeps the file when this ends, and gives up the lock then: whoever looks next takes over.
  void leave() noexcept { path_.clear(); }

 private:
  void add_line(std::string_view line) noexcept;
  JournalEntry(UniqueFd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}
  UniqueFd fd_;
  std::string path_;
};

/// An entry whose owner is dead or has left it, locked by the caller now.
struct AbandonedSession {
  JournaledSession session;
  std::string path;
  Duration age;  ///< since it was last written
  UniqueFd lock;
};
/// Those of `directory`. Entries that cannot be read are removed, with a line in the log; so are unfinished files of processes that died.
[[nodiscard]] Result<std::vector<AbandonedSession>> abandoned_sessions(const std::string& directory);

}  // namespace ckpt
