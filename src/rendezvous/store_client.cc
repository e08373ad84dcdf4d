#include "rendezvous/store_client.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>

#include "base/fault_point.h"
#include "base/log.h"
#include "os/error.h"
#include "os/socket_address.h"
#include "os/threads.h"
#include "os/wait_fd.h"
#include "rendezvous/status_wire.h"

namespace ckpt {
namespace {

constexpr Duration kRetryPause = std::chrono::milliseconds(50);
constexpr Duration kStoreGrace = std::chrono::seconds(2);
constexpr std::size_t kReadBudget = 64 * MiB;

/// What the store says first: a heartbeat as welcome, or why it refuses.
Status read_welcome(Socket& socket, Deadline deadline, const AbortSignal& abort) {
  for (MessageReader reader;;) {
    CKPT_ASSIGN_OR_RETURN(const std::size_t size, socket.receive_some(reader.room(), deadline, abort));
    if (size == 0) return {StatusCode::unavailable, Scope::group, "the store closed the connection"};
    CKPT_RETURN_IF_ERROR(reader.filled(size));
    if (const std::optional<StoreMessage> message = reader.take())
      return message->type == MessageType::refused ? decode_status(message->bytes()) : Status::success();
  }
}

Result<Socket> greet(Socket socket, const Hello& hello, Deadline deadline, const AbortSignal& abort) {
  CKPT_RETURN_IF_ERROR(socket.send_all(hello, deadline, abort));
  std::array<std::byte, kMagicBytes> magic{};
  CKPT_RETURN_IF_ERROR(socket.receive_all(magic, deadline, abort));
  if (magic != store_magic())
    return Status(StatusCode::failed_precondition, Scope::group, "what listens there is no store of this version")
        .advise("choose a master port whose successor is free");
  CKPT_RETURN_IF_ERROR(read_welcome(socket, deadline, abort));
  return socket;
}

/// One attempt, greeting included.
Result<Socket> connect_and_greet(const GroupOptions& options, const Hello& hello, Deadline deadline, const AbortSignal& abort) {
  CKPT_ASSIGN_OR_RETURN(Socket socket, Socket::connect_tcp(options.store.host, options.store.port, deadline, abort));
  return greet(std::move(socket), hello, deadline, abort);
}

}  // namespace

Result<std::unique_ptr<StoreClient>> StoreClient::connect(const GroupOptions& options, Deadline deadline, const AbortSignal& abort,
                                                          StoreEvents events, Patience patience) {
  CKPT_ASSIGN_OR_RETURN(const Hello hello, make_hello(options.token));
  const std::string where = "store at " + host_and_port(options.store.host, options.store.port);
  for (;;) {
    Result<Socket> socket = connect_and_greet(options, hello, deadline, abort);
    if (socket.ok()) {
      std::unique_ptr<StoreClient> client(new StoreClient(options, std::move(socket).value(), std::move(events)));
      CKPT_RETURN_IF_ERROR(client->start());
      return client;
    }
    if (socket.status().code() != StatusCode::unavailable || patience == Patience::none) return socket.status().with_note("{}", where);
    if (deadline.passed())
      return Status(StatusCode::deadline_exceeded, Scope::group, "{}: nobody listens there: {}", where, socket.status().message())
          .advise("is rank 0 running, and its address reachable?");
    CKPT_RETURN_IF_ERROR(pause_for(std::min<Duration>(kRetryPause, deadline.remaining()), abort));
  }
}

StoreClient::StoreClient(const GroupOptions& options, Socket socket, StoreEvents events)
    : options_(options),
      socket_(std::move(socket)),
      events_(std::move(events)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      last_heard_(Clock::real().now()),
      presence_(options.heartbeat_timeout, last_heard_) {}

Status StoreClient::start() {
  if (!wake_.valid()) return errno_status(errno, "connect to the store");
  CKPT_ASSIGN_OR_RETURN(thread_, start_thread("connect to the store", [this] { serve(); }));
  return Status::success();
}

StoreClient::~StoreClient() {
  quit_ = true;
  wake();
  if (thread_.joinable()) thread_.join();
}

void StoreClient::wake() noexcept {
  const std::uint64_t one = 1;
  static_cast<void>(!::write(wake_.get(), &one, sizeof one));
}

void StoreClient::serve() {
  TimePoint next_heartbeat = Clock::real().now();
  Status status;
  while (status.ok() && !quit_) status = turn(next_heartbeat);
  if (!quit_) lose(status);
}

Status StoreClient::turn(TimePoint& next_heartbeat) {
  bool writing = false;
  {
    const MutexLock lock(mutex_);
    if (!out_.flush(socket_).ok()) socket_.shutdown();  // reading finds the end, and what came before it
    writing = !out_.empty();
  }
  pollfd entries[2] = {{wake_.get(), POLLIN, 0}, {socket_.fd(), static_cast<short>(writing ? POLLIN | POLLOUT : POLLIN), 0}};
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(next_heartbeat - Clock::real().now()).count();
  ::poll(entries, 2, static_cast<int>(std::clamp<std::int64_t>(ms, 0, 1000)));
  if (presence_.was_away(Clock::real().now())) last_heard_ = Clock::real().now();
  std::uint64_t ignored = 0;
  if ((entries[0].revents & POLLIN) != 0) static_cast<void>(!::read(wake_.get(), &ignored, sizeof ignored));
  if ((entries[1].revents & ~POLLOUT) != 0) CKPT_RETURN_IF_ERROR(read());
  const TimePoint now = Clock::real().now();
  if (now - last_heard_ > options_.heartbeat_timeout)
    return {StatusCode::unavailable, Scope::group, "the store said nothing for {}: its process is stopped, or the network is cut",
            format_duration(options_.heartbeat_timeout)};
  if (now >= next_heartbeat) {
    next_heartbeat = now + options_.heartbeat_interval;
    const MutexLock lock(mutex_);
    out_.push(StoreMessage{.type = MessageType::heartbeat});
  }
  return Status::success();
}

Status StoreClient::read() {
  const Result<StreamState> state = read_messages(socket_, reader_, kReadBudget, [this](StoreMessage message) { return handle(std::move(message)); });
  last_heard_ = Clock::real().now();
  if (state.ok() && *state == StreamState::open) return Status::success();
  if (state.status().code() == StatusCode::data_corruption) return state.status();
  // The death of a process shows as an end or as a reset, by chance: all ranks are to tell the same.
  if (!state.ok()) log_debug("store: {}", state.status().message());
  return {StatusCode::unavailable, Scope::group, "the store closed the connection: its process is gone"};
}

Status StoreClient::handle(StoreMessage message) {
  if (message.type == MessageType::heartbeat) return Status::success();
  if (message.type == MessageType::joined && events_.on_joined) events_.on_joined(message.epoch);
  if (message.type == MessageType::failed) {
    const Status why = decode_status(message.bytes());
    if (events_.on_failed) events_.on_failed(message.epoch, why);
    end_requests(message.epoch, why);
    return Status::success();
  }
  {
    const MutexLock lock(mutex_);
    const auto found = pending_.find(message.id);
    if (found == pending_.end()) return Status::success();  // its caller has given up
    Pending& pending = found->second;
    if (message.type == MessageType::part) {
      pending.answer.parts[message.rank] = message.value;
      return Status::success();
    }
    if (message.type == MessageType::refused) pending.status = decode_status(message.bytes());
    pending.answer.message = std::move(message);
    pending.done = true;
  }
  changed_.notify_all();
  return Status::success();
}

/// The store does not answer the steps of an epoch that has failed one by one: the failure is the answer to all. Epoch 0: to everything.
void StoreClient::end_requests(std::uint64_t epoch, const Status& why) {
  {
    const MutexLock lock(mutex_);
    end_calls(epoch, why);
  }
  changed_.notify_all();
}

void StoreClient::end_calls(std::uint64_t epoch, const Status& why) {
  for (auto& [id, pending] : pending_) {
    if (pending.done || (epoch != 0 && pending.epoch != epoch)) continue;
    pending.status = why;
    pending.done = true;
  }
}

void StoreClient::lose(const Status& why) {
  Status status = why.with_scope(Scope::group).with_note("store at {}", host_and_port(options_.store.host, options_.store.port));
  if (options_.store_rank) status = status.at_rank(static_cast<int>(*options_.store_rank));
  if (events_.on_failed) events_.on_failed(0, status);  // before `lost_`: whoever finds it set hears nothing more from here
  {
    const MutexLock lock(mutex_);
    lost_ = status;
    end_calls(0, status);
  }
  changed_.notify_all();
}

void StoreClient::give_up(const Status& why) { end_requests(0, why); }

Status StoreClient::lost() {
  const MutexLock lock(mutex_);
  return lost_;
}

Result<StoreAnswer> StoreClient::ask(StoreMessage request, Deadline deadline) {
  CKPT_FAULT_POINT("sys.store_ask");
  request.timeout_ns = static_cast<std::uint64_t>(deadline.remaining().count());
  const Deadline patience =
      Deadline::after(deadline.remaining() > std::chrono::hours(24 * 365) ? deadline.remaining() : deadline.remaining() + kStoreGrace);
  std::uint64_t id = 0;
  {
    const MutexLock lock(mutex_);
    CKPT_RETURN_IF_ERROR(lost_);
    id = next_id_++;
    request.id = id;
    pending_[id].epoch = request.type == MessageType::gather ? request.epoch : 0;
    out_.push(request);
  }
  wake();
  const MutexLock lock(mutex_);
  Pending& pending = pending_[id];
  while (!pending.done)
    if (changed_.wait_until(mutex_, patience.time()) == std::cv_status::timeout && !pending.done) {
      pending_.erase(id);
      return Status(StatusCode::deadline_exceeded, Scope::group, "{}: the store does not answer", request.name());
    }
  Status status = pending.status;
  StoreAnswer answer = std::move(pending.answer);
  pending_.erase(id);
  if (!status.ok()) return status;
  return answer;
}

void StoreClient::tell(const StoreMessage& message) noexcept {
  {
    const MutexLock lock(mutex_);
    if (!lost_.ok()) return;
    out_.push(message);
  }
  wake();
}

}  // namespace ckpt
