#include "rendezvous/store_server.h"

#include <poll.h>

#include <algorithm>
#include <map>
#include <thread>
#include <vector>

#include "base/log.h"
#include "os/socket.h"
#include "rendezvous/membership.h"
#include "rendezvous/message_stream.h"
#include "rendezvous/store_keys.h"

namespace ckpt {
namespace {

constexpr std::size_t kServerReadBudget = 16 * MiB;
constexpr std::size_t kMaxConnections = 4096;

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
      : options_(std::move(options)), expected_(expected), listener_(std::move(listener)), members_(options_.num_ranks), thread_([this] {
          serve();
        }) {}
  ~Server() override {
    quit_.trigger_from_signal_handler();
    thread_.join();
  }
  [[nodiscard]] StoreAddress address() const override { return {options_.host, listener_.port()}; }

 private:
  void serve() {
    while (!quit_.triggered()) {
      std::vector<pollfd> entries{{quit_.fd(), POLLIN, 0}, {listener_.fd(), POLLIN, 0}};
      std::vector<ConnectionId> ids;
      for (auto& [id, connection] : connections_) {
        entries.push_back({connection.socket.fd(), static_cast<short>(connection.out.empty() ? POLLIN : POLLIN | POLLOUT), 0});
        ids.push_back(id);
      }
      ::poll(entries.data(), entries.size(), wait_ms());
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
    if (!status.ok()) drop(id, status);
  }

  Status read(ConnectionId id, Connection& connection) {
    if (!connection.welcome()) CKPT_RETURN_IF_ERROR(read_hello(connection));
    if (!connection.welcome()) return Status::success();
    CKPT_ASSIGN_OR_RETURN(const StreamState state,
                          read_messages(connection.socket, connection.reader, kServerReadBudget, [&](const StoreMessage& message) {
                            handle(id, message);
                            return Status::success();
                          }));
    connection.last_heard = Clock::real().now();
    if (state == StreamState::closed) return {StatusCode::unavailable, Scope::group, "its connection to the store ended: the process is gone"};
    return Status::success();
  }

  Status read_hello(Connection& connection) {
    CKPT_ASSIGN_OR_RETURN(const auto size, connection.socket.receive_now(std::span(connection.hello).subspan(connection.hello_bytes)));
    if (!size) return Status::success();
    if (*size == 0) return {StatusCode::unavailable, Scope::peer, "the connection ended before its hello"};
    connection.hello_bytes += *size;
    if (!connection.welcome()) return Status::success();
    if (!same_hello(connection.hello, expected_)) return {StatusCode::failed_precondition, Scope::peer, "a client showed a wrong token"};
    connection.last_heard = Clock::real().now();
    connection.out.push(store_magic());
    return Status::success();
  }

  void handle(ConnectionId id, const StoreMessage& message) {
    switch (message.type) {
      case MessageType::heartbeat: return;
      case MessageType::join:
      case MessageType::gather:
      case MessageType::abort:
      case MessageType::leave: return members_.handle(id, message, Clock::real().now(), outbox_);
      default: return data_.handle(id, message, Clock::real().now(), outbox_);
    }
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
    std::vector<ConnectionId> silent;
    for (auto& [id, connection] : connections_) {
      if (now - connection.last_heard > options_.heartbeat_timeout)
        silent.push_back(id);
      else if (connection.welcome())
        outbox_.send(id, {.type = MessageType::heartbeat});
    }
    for (const ConnectionId id : silent)
      drop(id, {StatusCode::unavailable, Scope::group, "the process said nothing for {}: it is stopped, or cut off",
                format_duration(options_.heartbeat_timeout)});
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
      for (const auto& [id, status] : broken) drop(id, status);
    }
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
  AbortSignal quit_;
  std::thread thread_;
};

}  // namespace

Result<std::unique_ptr<StoreServer>> StoreServer::start(const StoreServerOptions& options, Deadline deadline) {
  CKPT_ASSIGN_OR_RETURN(const Hello expected, make_hello(options.token));
  const AbortSignal never;
  CKPT_ASSIGN_OR_RETURN(Listener listener, Listener::tcp(options.host, options.port, deadline, never));
  return std::unique_ptr<StoreServer>(std::make_unique<Server>(options, expected, std::move(listener)));
}

}  // namespace ckpt
