#include "channel/http_call.h"

#include <fcntl.h>
#include <httplib.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>

#include "base/fault_point.h"
#include "os/threads.h"

namespace ckpt {
namespace {

// A host that vanished without a word is noticed within half a minute, also while the engine works on a long update.
void keep_alive(int fd) {
  const std::array<std::array<int, 3>, 4> options{
      {{SOL_SOCKET, SO_KEEPALIVE, 1}, {IPPROTO_TCP, TCP_KEEPIDLE, 10}, {IPPROTO_TCP, TCP_KEEPINTVL, 5}, {IPPROTO_TCP, TCP_KEEPCNT, 4}}};
  for (const auto& [level, name, value] : options) ::setsockopt(fd, level, name, &value, sizeof value);  // refused on Unix sockets: nothing lost
}

std::unique_ptr<httplib::Client> make_client(const HttpUrl& url, const HttpRequest& request) {
  std::unique_ptr<httplib::Client> client;
  if (!url.unix_socket.empty()) {
    client = std::make_unique<httplib::Client>(url.unix_socket, url.port);
    client->set_address_family(AF_UNIX);
  } else {
    client = std::make_unique<httplib::Client>((url.tls ? "https://" : "http://") + url.authority());
  }
  client->set_follow_location(false);
  client->set_keep_alive(false);
  client->set_tcp_nodelay(url.unix_socket.empty());
  client->set_connection_timeout(std::chrono::duration_cast<std::chrono::microseconds>(request.connect_timeout));
  client->set_read_timeout(std::chrono::duration_cast<std::chrono::microseconds>(request.timeout));
  client->set_write_timeout(std::chrono::duration_cast<std::chrono::microseconds>(request.timeout));
  return client;
}

httplib::Request to_library(const HttpUrl& url, const HttpRequest& request) {
  httplib::Request out;
  out.method = request.method;
  out.path = url.prefix + request.path;
  out.headers = {{"Host", url.authority()}, {"Accept", "application/json, */*"}, {"Accept-Encoding", "identity"}};
  if (!request.bearer.empty()) out.headers.emplace("Authorization", "Bearer " + request.bearer);
  if (request.method == "POST") {
    out.headers.emplace("Content-Type", "application/json");
    out.body = request.body;
  }
  return out;
}

}  // namespace

Result<std::unique_ptr<HttpCall>> HttpCall::start(const HttpUrl& url, HttpRequest request, std::function<void(const Result<HttpReply>&)> on_end) {
  std::unique_ptr<HttpCall> call(new HttpCall(url, std::move(request)));
  Result<std::thread> thread = start_thread("carry out the call", [raw = call.get(), on_end = std::move(on_end)] { raw->run(on_end); });
  if (!thread.ok()) return thread.status().with_note("{}", call->what());
  call->thread_ = std::move(thread).value();
  return call;
}

HttpCall::HttpCall(const HttpUrl& url, HttpRequest request) : url_(url), request_(std::move(request)) {}

HttpCall::~HttpCall() {
  cancel({StatusCode::cancelled, Scope::operation, "{}: cancelled", what()});
  if (thread_.joinable()) thread_.join();
}

void HttpCall::run(const std::function<void(const Result<HttpReply>&)>& on_end) {
  Result<HttpReply> outcome = perform();
  {
    const MutexLock lock(mutex_);
    socket_.reset();
    if (!cancelled_.ok()) outcome = cancelled_;
  }
  outcome_.emplace(std::move(outcome));
  if (on_end) on_end(*outcome_);
  ended_.trigger({StatusCode::cancelled, Scope::operation, "ended"});
}

Result<HttpReply> HttpCall::perform() {
  CKPT_FAULT_POINT("sys.http_request");
  HttpReply reply;
  const std::unique_ptr<httplib::Client> client = make_client(url_, request_);
  client->set_socket_options([this](int fd) { keep_socket(fd); });
  httplib::Request request = to_library(url_, request_);
  request.content_receiver = [&reply, limit = request_.max_reply_bytes](const char* text, std::size_t size, std::uint64_t, std::uint64_t) {
    const std::size_t room = limit - reply.body.size();
    reply.body.append(text, std::min(size, room));
    reply.truncated = size > room;
    return !reply.truncated;
  };
  request.response_handler = [&reply](const httplib::Response& response) {
    reply.status = response.status;
    return true;
  };
  const TimePoint begin = Clock::real().now();
  const httplib::Result result = client->send(request);
  if (result) reply.status = result->status;  // no body: the handler above may not have run
  if (result || reply.truncated) return reply;
  return failure(static_cast<int>(result.error()), httplib::to_string(result.error()), begin);
}

Status HttpCall::failure(int library_error, std::string_view library_text, TimePoint begin) const {
  const Duration passed = Clock::real().now() - begin;
  const auto error = static_cast<httplib::Error>(library_error);
  if (error != httplib::Error::Read && error != httplib::Error::Write)
    return {StatusCode::unavailable, Scope::peer, "{}: cannot connect ({} after {})", what(), library_text, format_duration(passed)};
  if (passed >= request_.timeout)
    return {StatusCode::deadline_exceeded, Scope::peer, "{}: no reply within {}", what(), format_duration(request_.timeout)};
  return {StatusCode::unavailable, Scope::peer, "{}: the connection was cut before the reply was complete", what()};
}

void HttpCall::keep_socket(int fd) {
  keep_alive(fd);
  const MutexLock lock(mutex_);
  socket_.reset(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!cancelled_.ok()) ::shutdown(fd, SHUT_RDWR);  // before it is connected: the connection then carries nothing
}

void HttpCall::cancel(const Status& reason) noexcept {
  const MutexLock lock(mutex_);
  if (!cancelled_.ok() || done()) return;
  cancelled_ = reason;
  if (socket_.valid()) ::shutdown(socket_.get(), SHUT_RDWR);
}

Result<HttpReply> HttpCall::wait(Deadline deadline, const AbortSignal& abort) {
  while (!done()) {
    if (Status status = abort.check(); !status.ok()) return status.with_note("{}", what());
    if (Status status = deadline.check(what()); !status.ok()) return status;
    std::array<pollfd, 2> entries{{{ended_.fd(), POLLIN, 0}, {abort.fd(), POLLIN, 0}}};
    ::poll(entries.data(), entries.size(), deadline.capped(std::chrono::seconds(1)).poll_ms());  // capped: the signals may lack a descriptor
  }
  return *outcome_;
}

}  // namespace ckpt
