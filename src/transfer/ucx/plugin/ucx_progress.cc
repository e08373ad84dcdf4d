// The thread of a worker: messages from their start to their end.
#include <poll.h>
#include <unistd.h>

#include <chrono>

#include "transfer/ucx/plugin/ucx_worker.h"

namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kSettleTime = std::chrono::seconds(3);
constexpr int kSpinsBeforeSleep = 20;
constexpr int kMostDrains = 1000;

}  // namespace

void CkptUcx::wake() {
  const uint64_t one = 1;
  static_cast<void>(!::write(wake_fd, &one, sizeof one));
}

void CkptUcx::post(const CkptUcxOp* ops, size_t count) {
  {
    const std::lock_guard<std::mutex> lock(mutex);
    posted.insert(posted.end(), ops, ops + count);
  }
  wake();
}

void CkptUcx::end(std::list<Running>::iterator entry, ucs_status_t status) {
  const CkptUcxOp op = entry->op;
  if (op.kind == CKPT_UCX_FLUSH && status == UCS_OK) flushed = true;
  const bool peer_gone = op.peer < peers.size() && peers[op.peer].failed;
  if (entry->ended != nullptr) *entry->ended = true;
  running.erase(entry);
  int outcome = CKPT_UCX_DONE;
  if (status != UCS_OK)
    outcome = aborted && !peer_gone        ? CKPT_UCX_CANCELLED
              : peer_gone                  ? CKPT_UCX_PEER_FAILED
              : status == UCS_ERR_CANCELED ? CKPT_UCX_CANCELLED
                                           : CKPT_UCX_FAILED;
  config.done(op.user, outcome, op.peer, ucs_status_string(status));
}

void CkptUcx::on_sent(void* request, ucs_status_t status, void* user) {
  auto* entry = static_cast<Running*>(user);
  for (auto it = entry->owner->running.begin(); it != entry->owner->running.end(); ++it)
    if (&*it == entry) {
      entry->owner->end(it, status);
      break;
    }
  ucp_request_free(request);
}

void CkptUcx::on_received(void* request, ucs_status_t status, const ucp_tag_recv_info_t* info, void* user) {
  auto* entry = static_cast<Running*>(user);
  if (status == UCS_OK && info->length != entry->op.bytes) status = UCS_ERR_MESSAGE_TRUNCATED;
  if (status == UCS_OK) entry->owner->peers[entry->op.peer].heard = true;
  on_sent(request, status, user);
}

void CkptUcx::on_peer_error(void* arg, ucp_ep_h, ucs_status_t) {
  auto* peer = static_cast<Peer*>(arg);
  peer->failed = true;
  peer->owner->peer_failed = true;
}

void CkptUcx::start(const CkptUcxOp& op) {
  running.push_back({this, op, nullptr, false});
  const auto entry = std::prev(running.end());
  Peer& peer = peers[op.peer];
  const bool flush = op.kind == CKPT_UCX_FLUSH;
  if (aborted || peer.failed || (peer.endpoint == nullptr && !flush)) return end(entry, UCS_ERR_CANCELED);
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  param.user_data = &*entry;
  if (const ucp_mem_h handle = flush ? nullptr : handle_of(op.buffer, op.bytes)) {
    param.op_attr_mask |= UCP_OP_ATTR_FIELD_MEMH;
    param.memh = handle;
  }
  // A message that has come in pieces before its receive ends by the callback, inside the call.
  bool ended = false;
  entry->ended = &ended;
  ucs_status_ptr_t request = nullptr;
  if (flush) {
    param.cb.send = on_sent;
    request = ucp_worker_flush_nbx(worker, &param);
  } else if (op.kind == CKPT_UCX_RECEIVE) {
    param.cb.recv = on_received;
    request = ucp_tag_recv_nbx(worker, op.buffer, op.bytes, op.tag, ~uint64_t{0}, &param);
  } else {
    param.cb.send = on_sent;
    request = ucp_tag_send_nbx(peer.endpoint, op.buffer, op.bytes, op.tag, &param);
  }
  if (ended) return;
  entry->ended = nullptr;
  if (request == nullptr) {
    if (op.kind == CKPT_UCX_RECEIVE) peer.heard = true;
    return end(entry, UCS_OK);
  }
  if (UCS_PTR_IS_ERR(request)) return end(entry, UCS_PTR_STATUS(request));
  entry->request = request;
}

void CkptUcx::start_posted() {
  for (;;) {
    CkptUcxOp op{};
    {
      const std::lock_guard<std::mutex> lock(mutex);
      if (posted.empty()) return;
      op = posted.front();
      posted.pop_front();
    }
    start(op);
  }
}

/// A forced close settles sends whose receiver never comes; it does not settle an unmatched receive: each of those must be cancelled by hand.
void CkptUcx::cancel_where_due() {
  if (!aborted && !peer_failed) return;
  // A peer's request to connect that is here already must find its endpoint, or UCX makes one of its own, and cannot be ended while it does.
  for (int i = 0; i < kMostDrains && ucp_worker_progress(worker) != 0; ++i) {
  }
  for (Peer& peer : peers)
    if (peer.endpoint != nullptr && (aborted || peer.failed)) force_close(peer);
  for (auto it = running.begin(); it != running.end();) {
    Running& entry = *it++;  // a cancel may end the entry at once
    if (entry.cancelled || entry.request == nullptr || (!aborted && !peers[entry.op.peer].failed)) continue;
    entry.cancelled = true;
    if (entry.op.kind == CKPT_UCX_RECEIVE) ucp_request_cancel(worker, entry.request);
  }
}

void CkptUcx::force_close(Peer& peer) {
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
  param.flags = UCP_EP_CLOSE_FLAG_FORCE;
  void* request = ucp_ep_close_nbx(peer.endpoint, &param);
  if (UCS_PTR_IS_PTR(request)) closing.push_back(request);
  peer.endpoint = nullptr;
}

void CkptUcx::sleep() {
  if (ucp_worker_arm(worker) != UCS_OK) return;  // events came meanwhile
  pollfd entries[2] = {{worker_fd, POLLIN, 0}, {wake_fd, POLLIN, 0}};
  ::poll(entries, 2, 1000);
  uint64_t ignored = 0;
  if ((entries[1].revents & POLLIN) != 0) static_cast<void>(!::read(wake_fd, &ignored, sizeof ignored));
}

void CkptUcx::loop() {
  int idle = 0;
  while (!quit) {
    start_posted();
    if (ucp_worker_progress(worker) != 0) {
      idle = 0;
    } else if (++idle >= kSpinsBeforeSleep) {
      idle = 0;
      cancel_where_due();
      sleep();
    }
    cancel_where_due();
  }
  aborted = true;
  close_endpoints();
  settled = running.empty();
}

void CkptUcx::close_endpoints() {
  const auto give_up = Clock::now() + kSettleTime;
  while (Clock::now() < give_up) {
    start_posted();
    cancel_where_due();
    ucp_worker_progress(worker);
    bool open = !running.empty();
    for (void* request : closing) open = open || ucp_request_check_status(request) == UCS_INPROGRESS;
    if (!open) break;
    std::this_thread::yield();
  }
  for (void* request : closing) ucp_request_free(request);
}
