/// Open sessions on disk, so that a worker that waits for a dead sender can be freed by the next one.
///
///   <journal dir>/<name>.session     lines: format, address, dialect, worker key; locked (flock) while the owner lives
#pragma once

#include <string>
#include <vector>

#include "ckpt/result.h"
#include "os/unique_fd.h"

namespace ckpt {

struct JournaledSession {
  std::string address;
  std::string worker_key;
  bool native = false;
};

/// One entry, held. Removed from disk when it ends.
class JournalEntry {
 public:
  /// Written, synced and locked before it has its final name: a reader never sees half of it.
  [[nodiscard]] static Result<JournalEntry> create(const std::string& directory, const JournaledSession& session);
  JournalEntry(JournalEntry&& other) noexcept : fd_(std::move(other.fd_)), path_(std::exchange(other.path_, {})) {}
  JournalEntry& operator=(JournalEntry&&) = delete;
  ~JournalEntry();

 private:
  JournalEntry(UniqueFd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}
  UniqueFd fd_;
  std::string path_;
};

/// An entry whose owner is dead, locked by the caller now. `forget` removes it.
struct AbandonedSession {
  JournaledSession session;
  std::string path;
  UniqueFd lock;
};
/// Those of `directory`. Entries that cannot be read are removed, with a line in the log.
[[nodiscard]] Result<std::vector<AbandonedSession>> abandoned_sessions(const std::string& directory);

}  // namespace ckpt
