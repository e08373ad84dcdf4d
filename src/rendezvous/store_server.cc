#include "rendezvous/store_server.h"

#include <poll.h>

#include <algorithm>
#include <map>
#include <thread>
#include <vector>

#include "base/log.h"
#include "base/thread_annotations.h"
#include "os/socket.h"
#include "os/threads.h"
#include "rendezvous/membership.h"
#include "rendezvous/message_stream.h"
#include "rendezvous/silence.h"
#include "rendezvous/store_keys.h"

namespace ckpt {
namespace {

constexpr std::size_t kServerReadBudget = 16 * MiB;
constexpr std::size_t kMaxConnections = 4096;
constexpr std::string_view kTokenAdvice = "give every rank of the job the same CKPT_STORE_TOKEN";
constexpr Duration kAbortInterval = std::chrono::milliseconds(50);  // an abort does not wake a condition variable

struct Connection {
  Socket socket;
  MessageReader reader;
  SendQueue out;
  Hello hello{};
  std::size_t hello_bytes = 0;
  TimePoint last_heard;
  [[nodiscard]] bool welcome() const { return hello_bytes == sizeof(Hello); }
};

class Server final : public StoreServer {
 public:
  Server(StoreServerOptions options, const Hello& expected, Listener listener)
      : options_(std::move(options)), expected_(expected), listener_(std::move(listener)), members_(options_.num_ranks) {}
  ~Server() override {
    quit_.trigger_from_signal_handler();
    if (thread_.joinable()) thread_.join();
  }
  [[nodiscard]] Status start() {
    CKPT_ASSIGN_OR_RETURN(thread_, start_thread("start the store", [this] { serve(); }));
    return Status::success();
  }
  [[nodiscard]] StoreAddress address() const override { return {options_.host, listener_.port()}; }
  [[nodiscard]] Status wait_until_empty(Deadline deadline, const AbortSignal& abort) override CKPT_EXCLUDES(mutex_) {
    while (!wait_for_empty(std::min<Duration>(deadline.remaining(), kAbortInterval))) {
      CKPT_RETURN_IF_ERROR(abort.check());
      CKPT_RETURN_IF_ERROR(deadline.check("the store waits for its ranks to leave"));
    }
    return Status::success();
  }

 private:
  bool wait_for_empty(Duration at_most) CKPT_EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    if (!empty_) changed_.wait_for(mutex_, at_most);
    return empty_;
  }

  void serve() {
    OwnPresence presence(options_.heartbeat_timeout, Clock::real().now());
    while (!quit_.triggered()) {
      std::vector<pollfd> entries{{quit_.fd(), POLLIN, 0}, {accepting_ ? listener_.fd() : -1, POLLIN, 0}};
      std::vector<ConnectionId> ids;
      for (auto& [id, connection] : connections_) {
        entries.push_back({connection.socket.fd(), static_cast<short>(connection.out.empty() ? POLLIN : POLLIN | POLLOUT), 0});
        ids.push_back(id);
      }
      ::poll(entries.data(), entries.size(), wait_ms());
      if (const TimePoint now = Clock::real().now(); presence.was_away(now))
        for (auto& [id, connection] : connections_) connection.last_heard = now;
      if ((entries[1].revents & POLLIN) != 0) accept_all();
      for (std::size_t i = 0; i < ids.size(); ++i)
        if (entries[i + 2].revents != 0) attend(ids[i]);
      on_time();
      deliver();
    }
  }

  /// Until the next deadline or heartbeat, in whole milliseconds.
  int wait_ms() const {
    TimePoint next = next_heartbeat_;
    for (const auto& due : {members_.next_deadline(), data_.next_deadline()})
      if (due) next = std::min(next, *due);
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(next - Clock::real().now()).count();
    return static_cast<int>(std::clamp<std::int64_t>(ms, 0, 1000));
  }

  void accept_all() {
    for (;;) {
      Result<std::optional<Socket>> socket = listener_.accept_now();
      if (!socket.ok()) {
        // No descriptors left, most likely. The backlog keeps the caller until the next heartbeat.
        log_warning("store: {}", socket.status().to_string());
        accepting_ = false;
      }
      if (!socket.ok() || !*socket) return;
      if (connections_.size() >= kMaxConnections) continue;
      Connection& connection = connections_[next_id_++];
      connection.socket = std::move(**socket);
      connection.last_heard = Clock::real().now();
    }
  }

  void attend(ConnectionId id) {
    Connection& connection = connections_.at(id);
    Status status = read(id, connection);
    if (status.ok()) status = connection.out.flush(connection.socket);
    // The death of a process shows as an end or as a reset, by chance: both are told in the same words.
    if (status.code() == StatusCode::failed_precondition) {
      log_warning("store: {}", status.message());
    } else if (!status.ok() && status.code() != StatusCode::data_corruption) {
      log_debug("store: connection {}: {}", id, status.message());
      status = gone();
    }
    if (!status.ok()) drop(id, status.with_scope(Scope::group));
  }

  Status read(ConnectionId id, Connection& connection) {
    if (!connection.welcome()) CKPT_RETURN_IF_ERROR(read_hello(connection));
    if (!connection.welcome()) return Status::success();
    CKPT_ASSIGN_OR_RETURN(const StreamState state, read_messages(connection.socket, connection.reader, kServerReadBudget,
                                                                 [&](const StoreMessage& message) { return handle(id, message); }));
    connection.last_heard = Clock::real().now();
    return state == StreamState::closed ? gone() : Status::success();
  }
  static Status gone() { return {StatusCode::unavailable, Scope::group, "its connection to the store ended: the process is gone"}; }

  Status read_hello(Connection& connection) {
    CKPT_ASSIGN_OR_RETURN(const auto size, connection.socket.receive_now(std::span(connection.hello).subspan(connection.hello_bytes)));
    if (!size) return Status::success();
    if (*size == 0) return {StatusCode::unavailable, Scope::peer, "the connection ended before its hello"};
    connection.hello_bytes += *size;
    if (!connection.welcome()) return Status::success();
    connection.out.push(store_magic());
    if (same_hello(connection.hello, expected_)) {
      connection.out.push(StoreMessage{.type = MessageType::heartbeat});  // welcome
      return Status::success();
    }
    const Status refusal = Status(StatusCode::failed_precondition, Scope::group, "the token is wrong").advise(kTokenAdvice);
    connection.out.push(StoreMessage{.type = MessageType::refused, .value = std::make_shared<const Bytes>(encode_status(refusal))});
    static_cast<void>(connection.out.flush(connection.socket));  // it fits into the socket's empty buffer, or is of no use
    return {StatusCode::failed_precondition, Scope::peer, "a client showed a wrong token"};
  }

  Status handle(ConnectionId id, const StoreMessage& message) {
    switch (message.type) {
      case MessageType::heartbeat: break;
      case MessageType::join:
      case MessageType::gather:
      case MessageType::abort:
      case MessageType::leave: members_.handle(id, message, Clock::real().now(), outbox_); break;
      case MessageType::set:
      case MessageType::get:
      case MessageType::watch:
      case MessageType::add:
      case MessageType::compare_set: data_.handle(id, message, Clock::real().now(), outbox_); break;
      default: return {StatusCode::data_corruption, Scope::peer, "it sent {}, which only the store sends", message.name()};
    }
    return Status::success();
  }

  void drop(ConnectionId id, const Status& why) {
    if (!connections_.at(id).welcome()) log_debug("store: {}", why.message());
    connections_.erase(id);
    data_.disconnected(id);
    members_.disconnected(id, why, outbox_);
  }

  void on_time() {
    const TimePoint now = Clock::real().now();
    members_.expire(now, outbox_);
    data_.expire(now, outbox_);
    if (now < next_heartbeat_) return;
    next_heartbeat_ = now + options_.heartbeat_interval;
    accepting_ = true;
    std::vector<ConnectionId> silent;
    for (auto& [id, connection] : connections_) {
      if (now - connection.last_heard > options_.heartbeat_timeout)
        silent.push_back(id);
      else if (connection.welcome())
        outbox_.send(id, {.type = MessageType::heartbeat});
    }
    const Status why(StatusCode::unavailable, Scope::group, "the process said nothing for {}: it is stopped, or cut off",
                     format_duration(options_.heartbeat_timeout));
    for (const ConnectionId id : silent) {
      members_.disconnected(id, why, outbox_);
      deliver();  // to the silent one, too: it hears the verdict when it wakes
      if (connections_.contains(id)) drop(id, why);
    }
  }

  /// Sends what the last round gave rise to; a send that fails is a death, which gives rise to more.
  void deliver() {
    while (!outbox_.empty()) {
      for (const Outgoing& outgoing : outbox_.take())
        for (auto& [id, connection] : connections_)
          if (connection.welcome() && (outgoing.to == kEveryone || outgoing.to == id)) connection.out.push(outgoing.message);
      std::map<ConnectionId, Status> broken;
      for (auto& [id, connection] : connections_)
        if (const Status status = connection.out.flush(connection.socket); !status.ok()) broken.emplace(id, status);
      for (const auto& [id, status] : broken) drop(id, gone());
    }
    const MutexLock lock(mutex_);
    if (std::exchange(empty_, members_.empty()) != empty_) changed_.notify_all();
  }

  StoreServerOptions options_;
  Hello expected_;
  Listener listener_;
  Membership members_;
  StoreKeys data_;
  Outbox outbox_;
  std::map<ConnectionId, Connection> connections_;
  ConnectionId next_id_ = 1;
  TimePoint next_heartbeat_ = Clock::real().now();
  bool accepting_ = true;
  Mutex mutex_;
  ConditionVariable changed_;
  bool empty_ CKPT_GUARDED_BY(mutex_) = true;
  AbortSignal quit_;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace

Result<std::unique_ptr<StoreServer>> StoreServer::start(const StoreServerOptions& options, Deadline deadline) {
  if (options.num_ranks == 0) return Status(StatusCode::invalid_argument, Scope::operation, "start the store: a job has at least one rank");
  CKPT_ASSIGN_OR_RETURN(const Hello expected, make_hello(options.token));
  const AbortSignal never;
  Result<Listener> bound = Listener::tcp(options.host, options.port, deadline, never);
  if (!bound.ok()) return bound.status().with_note("start the store");
  Listener listener = std::move(bound).value();
  auto server = std::make_unique<Server>(options, expected, std::move(listener));
  CKPT_RETURN_IF_ERROR(server->start());
  return std::unique_ptr<StoreServer>(std::move(server));
}

}  // namespace ckpt
