#include "channel/zmq_socket.h"

#include <sys/socket.h>
#include <unistd.h>
#include <zmq.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "base/fault_point.h"
#include "os/file.h"

namespace ckpt {
namespace {

Status zmq_error(std::string_view what) { return {StatusCode::internal, Scope::peer, "{}: {}", what, zmq_strerror(zmq_errno())}; }

constexpr int kAnswerLingerMs = 1000;

int as_ms(Duration duration) { return static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count()); }

/// The process at the other end of `socket`; 0 when that cannot be told (another pid namespace, no Unix socket).
int peer_pid(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  return ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 ? peer.pid : 0;
}

/// Everybody can see an abstract name (/proc/net/unix) and connect to it; a path lies in a private directory.
bool keep_other_users_out(void* socket, const std::string& address) {
  if (!address.starts_with("ipc://@")) return true;
  const uid_t own = ::geteuid();
  return zmq_setsockopt(socket, ZMQ_IPC_FILTER_UID, &own, sizeof own) == 0;
}

}  // namespace

struct ZmqSocket::Handles {
  void* context = nullptr;
  void* socket = nullptr;
  void* monitor = nullptr;
  std::string second_address;
  std::vector<std::string> bound_paths;  // libzmq leaves the file of an ipc socket behind

  ~Handles() {
    if (socket != nullptr) zmq_socket_monitor(socket, nullptr, 0);
    if (monitor != nullptr) zmq_close(monitor);
    if (socket != nullptr) zmq_close(socket);
    if (context != nullptr) zmq_ctx_term(context);  // at once for the sender; a worker lingers until its answer is out
    remove_files();
  }

  // Last made, first removed: where the first address has a file, the second has one too (somebody may be looking).
  void remove_files() {
    for (; !bound_paths.empty(); bound_paths.pop_back()) ::unlink(bound_paths.back().c_str());
  }

  bool bind(const std::string& address) {
    if (zmq_bind(socket, address.c_str()) != 0) return false;
    if (address.starts_with("ipc:///")) bound_paths.push_back(address.substr(6));
    return true;
  }
};

ZmqSocket::ZmqSocket(Role role, std::unique_ptr<Handles> handles) : handles_(std::move(handles)), role_(role) {}
ZmqSocket::~ZmqSocket() = default;

Result<std::unique_ptr<ZmqSocket>> ZmqSocket::open(Role role, const std::string& address, const ZmqSocketOptions& options) {
  CKPT_FAULT_POINT("sys.zmq_socket");
  static std::atomic<std::uint64_t> counter{0};
  auto handles = std::make_unique<Handles>();
  handles->context = zmq_ctx_new();
  if (handles->context == nullptr) return zmq_error("make a ZeroMQ context");
  handles->socket = zmq_socket(handles->context, role == Role::request_and_bind ? ZMQ_REQ : ZMQ_REP);
  if (handles->socket == nullptr) return zmq_error("make a ZeroMQ socket");
  const auto set = [&](int option, int value) { return zmq_setsockopt(handles->socket, option, &value, sizeof value) == 0; };
  // The worker's last answer must be out before its socket closes; the sender reads every answer, so nothing of its own can be under way.
  if (!set(ZMQ_LINGER, role == Role::request_and_bind ? 0 : kAnswerLingerMs) || !set(ZMQ_HEARTBEAT_IVL, as_ms(options.heartbeat_interval)) ||
      !set(ZMQ_HEARTBEAT_TIMEOUT, as_ms(options.heartbeat_timeout)) || !set(ZMQ_RECONNECT_IVL, 20) || !keep_other_users_out(handles->socket, address))
    return zmq_error("set up a ZeroMQ socket");
  const std::string events = fmt::format("inproc://monitor-{}", counter++);
  if (zmq_socket_monitor(handles->socket, events.c_str(), ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED) != 0)
    return zmq_error("monitor a ZeroMQ socket");
  handles->monitor = zmq_socket(handles->context, ZMQ_PAIR);
  const int none = 0;
  if (handles->monitor == nullptr || zmq_setsockopt(handles->monitor, ZMQ_LINGER, &none, sizeof none) != 0 ||
      zmq_connect(handles->monitor, events.c_str()) != 0)
    return zmq_error("monitor a ZeroMQ socket");
  handles->second_address = options.second_address;
  if (!options.second_address.empty() && !handles->bind(options.second_address)) return zmq_error("bind " + options.second_address);
  const bool opened = role == Role::request_and_bind ? handles->bind(address) : zmq_connect(handles->socket, address.c_str()) == 0;
  if (!opened) return zmq_error(fmt::format("{} {}", role == Role::request_and_bind ? "bind" : "connect to", address));
  return std::unique_ptr<ZmqSocket>(new ZmqSocket(role, std::move(handles)));
}

void ZmqSocket::drain_monitor() {
  for (;;) {
    zmq_msg_t frame;
    zmq_msg_init(&frame);
    if (zmq_msg_recv(&frame, handles_->monitor, ZMQ_DONTWAIT) < 0) {
      zmq_msg_close(&frame);
      return;
    }
    std::uint16_t event = 0;
    std::int32_t value = -1;
    if (zmq_msg_size(&frame) >= sizeof event + sizeof value) {
      std::memcpy(&event, zmq_msg_data(&frame), sizeof event);
      std::memcpy(&value, static_cast<const char*>(zmq_msg_data(&frame)) + sizeof event, sizeof value);
    }
    const bool more = zmq_msg_more(&frame) != 0;
    zmq_msg_close(&frame);
    std::string address;
    if (more) {
      zmq_msg_init(&frame);
      if (zmq_msg_recv(&frame, handles_->monitor, 0) >= 0) address.assign(static_cast<const char*>(zmq_msg_data(&frame)), zmq_msg_size(&frame));
      zmq_msg_close(&frame);
    }
    if (event == ZMQ_EVENT_ACCEPTED) peer_pid_ = peer_pid(value);
    if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) peer_arrived(address);
    if (event == ZMQ_EVENT_DISCONNECTED && peers_ > 0) {
      --peers_;
      first_gone_ = true;
    }
  }
}

void ZmqSocket::peer_arrived(std::string_view address) {
  ++peers_;
  first_gone_ = had_peer_;
  had_peer_ = true;
  came_second_ = !handles_->second_address.empty() && address == handles_->second_address;
}

bool ZmqSocket::has_peer() {
  drain_monitor();
  return peers_ > 0;
}

/// A worker comes to an address that has one only when that one has finished, whether its end is known yet or not.
bool ZmqSocket::peer_gone() { return !has_peer() ? had_peer_ : first_gone_ && role_ == Role::request_and_bind; }

void ZmqSocket::hide_address() noexcept { handles_->remove_files(); }

bool ZmqSocket::peer_is_stopped() {
  drain_monitor();
  if (peer_pid_ == 0) return false;
  const Result<Bytes> stat = read_small_file(fmt::format("/proc/{}/stat", peer_pid_));
  if (!stat.ok()) return false;
  const std::string_view text = as_text(*stat);  // "pid (name) state …": a name may hold brackets
  const std::size_t end = text.rfind(") ");
  return end != std::string_view::npos && end + 2 < text.size() && (text[end + 2] == 'T' || text[end + 2] == 't');
}

/// One poll over socket, monitor and abort; returns when any of them has something, or with the reason to stop.
Status ZmqSocket::wait(short events, Deadline deadline, const AbortSignal& abort, std::string_view what, const Watched* watched) {
  CKPT_RETURN_IF_ERROR(abort.check());
  if (deadline.passed()) return {StatusCode::deadline_exceeded, Scope::peer, "{}: the deadline has passed", what};
  zmq_pollitem_t items[4] = {{handles_->socket, 0, events, 0},
                             {handles_->monitor, 0, ZMQ_POLLIN, 0},
                             {nullptr, abort.fd(), ZMQ_POLLIN, 0},
                             {nullptr, watched != nullptr ? watched->fd : -1, ZMQ_POLLIN, 0}};
  if (zmq_poll(items, watched != nullptr ? 4 : 3, std::min(deadline.poll_ms(), 1000)) < 0 && zmq_errno() != EINTR) return zmq_error(what);
  if (watched != nullptr && (items[3].revents & ZMQ_POLLIN) != 0) CKPT_RETURN_IF_ERROR(watched->ready());
  if ((items[1].revents & ZMQ_POLLIN) != 0) drain_monitor();
  return abort.check();
}

Status ZmqSocket::wait_for_peer(Deadline deadline, const AbortSignal& abort) {
  while (!has_peer()) CKPT_RETURN_IF_ERROR(wait(0, deadline, abort, "waiting for the other side to connect"));
  return Status::success();
}

Status ZmqSocket::send(std::string_view message, Deadline deadline, const AbortSignal& abort, std::string_view what) {
  CKPT_FAULT_POINT("sys.zmq_send");
  for (;;) {
    if (peer_gone()) return {StatusCode::unavailable, Scope::peer, "{}: the other side disconnected", what};
    if (zmq_send(handles_->socket, message.data(), message.size(), ZMQ_DONTWAIT) >= 0) return Status::success();
    if (zmq_errno() != EAGAIN && zmq_errno() != EINTR) return zmq_error(what);
    CKPT_RETURN_IF_ERROR(wait(ZMQ_POLLOUT, deadline, abort, what));
  }
}

Result<std::string> ZmqSocket::receive(std::size_t max_bytes, Deadline deadline, const AbortSignal& abort, std::string_view what,
                                       const Watched* watched) {
  CKPT_FAULT_POINT("sys.zmq_recv");
  for (;;) {
    zmq_msg_t frame;
    zmq_msg_init(&frame);
    const int got = zmq_msg_recv(&frame, handles_->socket, ZMQ_DONTWAIT);
    const int error = zmq_errno();
    if (got >= 0) {
      std::string message;
      const bool fits = zmq_msg_size(&frame) <= max_bytes && zmq_msg_more(&frame) == 0;
      if (fits) message.assign(static_cast<const char*>(zmq_msg_data(&frame)), zmq_msg_size(&frame));
      const std::size_t size = zmq_msg_size(&frame);
      zmq_msg_close(&frame);
      if (!fits)
        return Status(StatusCode::resource_exhausted, Scope::peer, "{}: a message of {} bytes is longer than {}, or in several parts", what, size,
                      max_bytes);
      return message;
    }
    zmq_msg_close(&frame);
    if (error != EAGAIN && error != EINTR) return zmq_error(what);
    if (peer_gone()) {
      // What the peer sent before it went may still be in the pipe: one more look.
      zmq_pollitem_t item{handles_->socket, 0, ZMQ_POLLIN, 0};
      if (zmq_poll(&item, 1, 0) <= 0) return Status(StatusCode::unavailable, Scope::peer, "{}: the other side disconnected", what);
      continue;
    }
    CKPT_RETURN_IF_ERROR(wait(ZMQ_POLLIN, deadline, abort, what, watched));
  }
}

bool ZmqSocket::peer_leaves_within(Duration timeout) {
  const AbortSignal never;
  const Deadline deadline = Deadline::after(timeout);
  while (has_peer() && !peer_gone())
    if (!wait(0, deadline, never, "the worker to leave").ok()) return false;
  return true;
}

}  // namespace ckpt
