#include "channel/journal.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <sstream>

#include "base/fault_point.h"
#include "base/log.h"
#include "channel/runtime_dir.h"
#include "os/error.h"

namespace ckpt {
namespace {

constexpr std::string_view kFormat = "ckpt-session-1";
constexpr std::string_view kAsked = "asked";
constexpr std::string_view kAgain = "again";
constexpr std::string_view kNative = "native";
constexpr std::string_view kFinished = ".session";
constexpr std::string_view kUnfinished = ".session.new";
/// An unfinished file gets its lock and its name within a moment of its making, or never.
constexpr Duration kUnfinishedAge = std::chrono::minutes(1);

Result<JournaledSession> parse(const std::string& text) {
  std::istringstream in(text);
  std::string format;
  std::string dialect;
  std::string mark;
  JournaledSession session;
  std::getline(in, format);
  std::getline(in, session.address);
  std::getline(in, dialect);
  std::getline(in, session.worker_key);
  if (!in || format != kFormat || !session.address.starts_with("ipc://"))
    return Status(StatusCode::data_corruption, Scope::operation, "a journal entry cannot be read");
  session.native = dialect == kNative;
  while (std::getline(in, mark)) {
    session.asked = session.asked || mark == kAsked;
    session.again = session.again || mark == kAgain;
    session.native = session.native || mark == kNative;
  }
  return session;
}

Duration age_of(const struct stat& info) {
  const auto written = std::chrono::seconds(info.st_mtim.tv_sec) + std::chrono::nanoseconds(info.st_mtim.tv_nsec);
  return std::chrono::duration_cast<Duration>(std::chrono::system_clock::now().time_since_epoch()) - written;
}

/// The file, locked by us; nullopt when its owner lives, or when it went meanwhile.
std::optional<AbandonedSession> take(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  struct stat info {};
  if (!fd.valid() || ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0 || ::fstat(fd.get(), &info) != 0) return std::nullopt;
  if (!S_ISREG(info.st_mode) || info.st_nlink == 0) return std::nullopt;
  return AbandonedSession{{}, path, age_of(info), std::move(fd)};
}

Result<JournaledSession> read(int fd) {
  std::array<char, 4096> text{};
  const ssize_t size = ::pread(fd, text.data(), text.size(), 0);
  if (size < 0) return errno_status(errno, "read a journal entry");
  return parse(std::string(text.data(), static_cast<std::size_t>(size)));
}

}  // namespace

Result<JournalEntry> JournalEntry::create(const std::string& directory, const JournaledSession& session) {
  CKPT_RETURN_IF_ERROR(make_private_dir(directory));
  CKPT_ASSIGN_OR_RETURN(const std::string name, unguessable_name());
  const std::string path = fmt::format("{}/{}{}", directory, name, kFinished);
  const std::string unfinished = fmt::format("{}/{}{}", directory, name, kUnfinished);
  CKPT_FAULT_POINT("sys.open");
  UniqueFd fd(::open(unfinished.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_APPEND | O_CLOEXEC, 0600));
  if (!fd.valid()) return errno_status(errno, "write journal entry " + unfinished);
  const std::string text = fmt::format("{}\n{}\n{}\n{}\n{}{}", kFormat, session.address, session.native ? "native" : "pickle", session.worker_key,
                                       session.asked ? "asked\n" : "", session.again ? "again\n" : "");
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

void JournalEntry::mark_asked() noexcept { add_line(kAsked); }
void JournalEntry::mark_again() noexcept { add_line(kAgain); }
void JournalEntry::mark_native() noexcept { add_line(kNative); }

void JournalEntry::add_line(std::string_view line) noexcept {
  const std::string text = std::string(line) + '\n';
  if (::write(fd_.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    log_warning("{}: if this process dies now, its worker waits for ever", errno_status(errno, "write journal entry " + path_).message());
}

Result<std::vector<AbandonedSession>> abandoned_sessions(const std::string& directory) {
  CKPT_RETURN_IF_ERROR(make_private_dir(directory));
  std::vector<AbandonedSession> abandoned;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
    const std::string path = entry->path().string();
    const bool finished = path.ends_with(kFinished);
    if (!finished && !path.ends_with(kUnfinished)) continue;
    std::optional<AbandonedSession> found = take(path);
    if (!found) continue;
    if (!finished) {
      if (found->age > kUnfinishedAge) ::unlink(path.c_str());
      continue;
    }
    Result<JournaledSession> session = read(found->lock.get());
    if (!session.ok()) {
      log_warning("journal entry {}: {}; it is removed", path, session.status().message());
      ::unlink(path.c_str());
      continue;
    }
    found->session = std::move(session).value();
    abandoned.push_back(std::move(*found));
  }
  return abandoned;
}

}  // namespace ckpt
