// Workers that wait for a sender that is gone: the next one speaks for it, at the same address.
#include <unistd.h>

#include <atomic>

#include "base/log.h"
#include "channel/bucket_session.h"
#include "channel/deliver_abort.h"
#include "channel/journal.h"
#include "channel/native_codec.h"
#include "channel/pickle_writer.h"
#include "channel/session_address.h"
#include "channel/zmq_socket.h"
#include "os/threads.h"

namespace ckpt {
namespace {

/// A worker that waits connects again by itself, pyzmq's every 100 ms.
constexpr Duration kComing = std::chrono::milliseconds(500);
/// One that is inside load_weights hears of the abort only afterwards.
constexpr Duration kLeaving = std::chrono::seconds(5);
/// A call that was sent may be carried out late, but not later than the longest wait for its reply (post_timeout).
constexpr Duration kLatestComing = std::chrono::hours(2);
/// One that has been there comes once more at once, or never: a draft model is loaded straight after its target.
constexpr Duration kLatestComingAgain = std::chrono::minutes(1);
constexpr unsigned kAtOnce = 16;

enum class Found : std::uint8_t { freed, nobody, busy };

/// At the address of the dead sender. An error: it cannot be bound.
Result<Found> free_worker(const JournaledSession& session, Deadline deadline) {
  const AbortSignal never;
  remove_session_files(session.address);
  CKPT_ASSIGN_OR_RETURN(const auto socket, ZmqSocket::open(ZmqSocket::Role::request_and_bind, session.address, {}));
  if (!socket->wait_for_peer(deadline.capped(kComing), never).ok())
    return socket->had_peer() ? Found::freed : Found::nobody;  // one may come and leave between two looks
  const std::string_view text = "the parameter server died during the update";
  const std::string message = session.native ? encode_native_abort(text) : pickle_abort(text);
  return deliver_abort(*socket, message, false, deadline.capped(kLeaving)) ? Found::freed : Found::busy;
}

/// Whether a worker may still come to, or wait at, the address. A native one looks itself whether its sender lives, and ends without one.
bool may_wait(const AbandonedSession& entry, const Result<Found>& found) {
  if (entry.session.native || entry.age > kLatestComing) return false;
  if (found.ok() && *found == Found::nobody) return entry.session.asked && !(entry.session.again && entry.age > kLatestComingAgain);
  return !found.ok() || *found == Found::busy;
}

void tell(const AbandonedSession& entry, const Result<Found>& found, bool kept) {
  const std::string& worker = entry.session.worker_key;
  const char* next = kept ? "the next update tries again" : "its journal entry is removed";
  if (!found.ok()) {
    log_warning("worker {} may wait for a dead sender: {}; {}", worker, found.status().message(), next);
  } else if (*found == Found::freed) {
    log_info("worker {} waited for a dead sender and was freed", worker);
  } else if (*found == Found::busy) {
    log_warning("worker {} waits for a dead sender, and has not let go since it was told of it; {}", worker, next);
  } else {
    log_info("worker {} of a dead sender does not wait at {}; {}", worker, entry.session.address, next);
  }
}

}  // namespace

Result<int> recover_sessions(const std::string& journal_dir, Deadline deadline) {
  CKPT_ASSIGN_OR_RETURN(const std::vector<AbandonedSession> abandoned, abandoned_sessions(journal_dir));
  std::atomic<int> num_freed = 0;
  const auto serve = [&](std::size_t index) {
    const AbandonedSession& entry = abandoned[index];
    const Result<Found> found = free_worker(entry.session, deadline);
    const bool kept = may_wait(entry, found);
    tell(entry, found, kept);
    if (found.ok() && *found == Found::freed) ++num_freed;
    if (!kept) ::unlink(entry.path.c_str());
    return Status::success();
  };
  CKPT_RETURN_IF_ERROR(parallel_for(abandoned.size(), kAtOnce, serve));
  return num_freed.load();
}

}  // namespace ckpt
