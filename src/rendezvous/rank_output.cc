#include "rendezvous/rank_output.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/fault_point.h"
#include "os/error.h"
#include "os/threads.h"

namespace ckpt {
namespace {

constexpr std::size_t kMaxLineBytes = 64 * 1024;

}  // namespace

RankOutput::~RankOutput() {
  quit_.trigger_from_signal_handler();
  if (thread_.joinable()) thread_.join();
}

Result<UniqueFd> RankOutput::add(std::uint32_t rank, int target) {
  int ends[2] = {-1, -1};
  CKPT_FAULT_POINT("sys.pipe");
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_status(errno, "make a pipe for the output of a rank");
  UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  ::fcntl(read_end.get(), F_SETFL, O_NONBLOCK);
  sources_.push_back({std::move(read_end), fmt::format("[{}] ", rank), target});
  return write_end;
}

Status RankOutput::start() {
  CKPT_ASSIGN_OR_RETURN(thread_, start_thread("read the output of the ranks", [this] { run(); }));
  return Status::success();
}

void RankOutput::run() {
  while (!sources_.empty()) {
    const bool last = quit_.triggered();  // once more around for what is in the pipes
    std::vector<pollfd> entries{{quit_.fd(), POLLIN, 0}};
    for (const Source& source : sources_) entries.push_back({source.fd.get(), POLLIN, 0});
    ::poll(entries.data(), entries.size(), last ? 0 : -1);
    std::erase_if(sources_, [](Source& source) { return !copy(source); });
    if (last) return;
  }
}

/// Copies what is there; false at the end of the pipe.
bool RankOutput::copy(Source& source) {
  char chunk[16384];
  ssize_t got = 0;
  while ((got = ::read(source.fd.get(), chunk, sizeof chunk)) > 0) {
    source.line.append(chunk, static_cast<std::size_t>(got));
    for (std::size_t end = 0; (end = source.line.find('\n')) != std::string::npos;) print(source, end + 1);
    if (source.line.size() > kMaxLineBytes) {
      source.line += '\n';
      print(source, source.line.size());
    }
  }
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  if (!source.line.empty()) {
    source.line += '\n';
    print(source, source.line.size());
  }
  return false;
}

void RankOutput::print(Source& source, std::size_t size) {
  const std::string text = source.label + source.line.substr(0, size);
  source.line.erase(0, size);
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t written = ::write(source.target, text.data() + done, text.size() - done);
    if (written < 0 && errno != EINTR) return;  // nobody reads any more
    done += static_cast<std::size_t>(std::max<ssize_t>(written, 0));
  }
}

}  // namespace ckpt
