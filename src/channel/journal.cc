#include "channel/journal.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <sstream>

#include "base/fault_point.h"
#include "base/log.h"
#include "channel/runtime_dir.h"
#include "os/error.h"
#include "os/file.h"

namespace ckpt {
namespace {

constexpr std::string_view kFormat = "ckpt-session-1";

Result<JournaledSession> parse(const std::string& text) {
  std::istringstream in(text);
  std::string format;
  std::string dialect;
  JournaledSession session;
  std::getline(in, format);
  std::getline(in, session.address);
  std::getline(in, dialect);
  std::getline(in, session.worker_key);
  if (!in || format != kFormat || session.address.empty())
    return Status(StatusCode::data_corruption, Scope::operation, "a journal entry cannot be read");
  session.native = dialect == "native";
  return session;
}

}  // namespace

Result<JournalEntry> JournalEntry::create(const std::string& directory, const JournaledSession& session) {
  CKPT_RETURN_IF_ERROR(make_private_dir(directory));
  CKPT_ASSIGN_OR_RETURN(const std::string name, unguessable_name());
  const std::string path = directory + "/" + name + ".session";
  const std::string unfinished = path + ".new";
  CKPT_FAULT_POINT("sys.open");
  UniqueFd fd(::open(unfinished.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600));
  if (!fd.valid()) return errno_status(errno, "write journal entry " + unfinished);
  const std::string text = fmt::format("{}\n{}\n{}\n{}\n", kFormat, session.address, session.native ? "native" : "pickle", session.worker_key);
  const bool written = ::flock(fd.get(), LOCK_EX | LOCK_NB) == 0 &&
                       ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
                       ::rename(unfinished.c_str(), path.c_str()) == 0;
  if (written) return JournalEntry(std::move(fd), path);
  const int error = errno;
  ::unlink(unfinished.c_str());
  return errno_status(error, "write journal entry " + path);
}

JournalEntry::~JournalEntry() {
  if (!path_.empty()) ::unlink(path_.c_str());
}

Result<std::vector<AbandonedSession>> abandoned_sessions(const std::string& directory) {
  CKPT_RETURN_IF_ERROR(make_private_dir(directory));
  std::vector<AbandonedSession> abandoned;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
    const std::string path = entry->path().string();
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd.valid() || ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) continue;  // gone meanwhile, or its owner lives
    const Result<Bytes> text = read_small_file(path, 64 * 1024);
    Result<JournaledSession> session = text.ok() ? parse(std::string(as_text(*text))) : Result<JournaledSession>(text.status());
    if (!session.ok()) {
      log_warning("journal entry {}: {}; it is removed", path, session.status().message());
      ::unlink(path.c_str());
      continue;
    }
    abandoned.push_back({std::move(session).value(), path, std::move(fd)});
  }
  return abandoned;
}

}  // namespace ckpt
