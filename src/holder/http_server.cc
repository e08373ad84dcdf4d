#include "holder/http_server.h"

#include <httplib.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "base/fault_point.h"
#include "base/log.h"
#include "holder/http_threads.h"
#include "os/error.h"
#include "os/socket.h"
#include "os/threads.h"
#include "os/wait_fd.h"

namespace ckpt {
namespace {

constexpr std::size_t kMaxThreads = 256;
constexpr std::size_t kMaxBodyBytes = 1 << 20;
constexpr time_t kKeepAliveSeconds = 1;  // an idle client must not hold up the end of the engine
constexpr time_t kReadSeconds = 2;
constexpr time_t kWriteSeconds = 5;
constexpr Duration kStartTimeout = std::chrono::seconds(5);

// The library's default shares the port with any other process that asks for it (SO_REUSEPORT): two engines would take turns.
void reuse_address(int fd) {
  const int yes = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
}

// Removes a socket file that nobody listens on any more.
Status remove_stale(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) return errno == ENOENT ? Status::success() : errno_status(errno, path);
  if (!S_ISSOCK(info.st_mode)) return {StatusCode::failed_precondition, Scope::operation, "{} is there and is no socket", path};
  const AbortSignal never;
  if (Socket::connect_unix(path, Deadline::after(std::chrono::seconds(1)), never).status().code() != StatusCode::unavailable)
    return {StatusCode::failed_precondition, Scope::operation, "{} is in use by another process", path};
  CKPT_FAULT_POINT("sys.unlink");
  return ::unlink(path.c_str()) == 0 ? Status::success() : errno_status(errno, "removing " + path);
}

}  // namespace

HttpThreads::Enqueued HttpThreads::enqueue(std::function<void()> task) {
  {
    const MutexLock lock(mutex_);
    tasks_.push_back(std::move(task));
    if (idle_ < tasks_.size() && threads_.size() < max_threads_) {
      try {
        threads_.emplace_back([this] { work(); });
      } catch (const std::system_error& error) {
        log_warning("no thread for another HTTP connection: {}", error.what());  // it waits for a free one
      }
    }
  }
  changed_.notify_one();
  return Enqueued(true);
}

void HttpThreads::work() {
  for (;;) {
    std::function<void()> task;
    {
      const MutexLock lock(mutex_);
      ++idle_;
      while (tasks_.empty() && !ending_) changed_.wait(mutex_);
      --idle_;
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
  }
}

void HttpThreads::shutdown() {
  std::vector<std::thread> threads;
  {
    const MutexLock lock(mutex_);
    ending_ = true;
    threads.swap(threads_);
  }
  changed_.notify_all();
  for (std::thread& thread : threads) thread.join();
}

HttpServer::HttpServer(HttpListenAddress address) : address_(std::move(address)), server_(std::make_unique<httplib::Server>()) {
  server_->new_task_queue = [] { return new HttpThreads(kMaxThreads); };  // owned by the library
  server_->set_socket_options(reuse_address);
  server_->set_tcp_nodelay(address_.unix_socket.empty());
  server_->set_keep_alive_timeout(kKeepAliveSeconds);
  server_->set_keep_alive_max_count(1000);
  server_->set_read_timeout(kReadSeconds);
  server_->set_write_timeout(kWriteSeconds);
  server_->set_payload_max_length(kMaxBodyBytes);
}

Result<std::unique_ptr<HttpServer>> HttpServer::start(const HttpListenAddress& address, const std::function<void(httplib::Server&)>& add_routes) {
  std::unique_ptr<HttpServer> server(new HttpServer(address));
  add_routes(*server->server_);
  CKPT_RETURN_IF_ERROR(server->bind());
  CKPT_RETURN_IF_ERROR(server->run());
  return server;
}

Status HttpServer::bind() {
  CKPT_FAULT_POINT("sys.bind");
  errno = 0;
  bool bound = false;
  if (!address_.unix_socket.empty()) {
    CKPT_RETURN_IF_ERROR(remove_stale(address_.unix_socket));
    server_->set_address_family(AF_UNIX);
    bound = owns_file_ = server_->bind_to_port(address_.unix_socket, 80);
  } else if (address_.port == 0) {
    port_ = server_->bind_to_any_port(address_.host);
    bound = port_ > 0;
  } else {
    port_ = address_.port;
    bound = server_->bind_to_port(address_.host, port_);
  }
  if (bound) return Status::success();
  const std::string what = address_.unix_socket.empty() ? fmt::format("listening on {}:{}", address_.host, address_.port)
                                                        : fmt::format("listening on {}", address_.unix_socket);
  if (errno == 0) return {StatusCode::failed_precondition, Scope::operation, "{}: not an address of this host", what};
  return errno_status(errno, what).advise("choose another --port, or 0 for any free one");
}

Status HttpServer::run() {
  CKPT_ASSIGN_OR_RETURN(thread_, start_thread("serve HTTP", [this] {
                          server_->listen_after_bind();
                          ended_.trigger({StatusCode::cancelled, Scope::process, "ended"});
                        }));
  // stop() does nothing before the server runs, and the oldest version of the library that we support tells no other way.
  const Deadline deadline = Deadline::after(kStartTimeout);
  while (!server_->is_running() && !ended_.triggered()) {
    CKPT_RETURN_IF_ERROR(deadline.check("starting the HTTP server"));
    static_cast<void>(pause_for(std::chrono::milliseconds(1), ended_));
  }
  if (ended_.triggered()) return {StatusCode::internal, Scope::process, "the HTTP server ended at once"};
  return Status::success();
}

Status HttpServer::stop(Deadline deadline) {
  if (!thread_.joinable()) return Status::success();
  server_->stop();
  if (owns_file_) ::unlink(address_.unix_socket.c_str());
  owns_file_ = false;
  const AbortSignal never;
  CKPT_RETURN_IF_ERROR(wait_until_ready(ended_.fd(), POLLIN, deadline, never, "the last HTTP connections"));
  thread_.join();
  return Status::success();
}

HttpServer::~HttpServer() {
  if (thread_.joinable()) server_->stop();
  if (owns_file_) ::unlink(address_.unix_socket.c_str());
  if (thread_.joinable()) thread_.join();
}

}  // namespace ckpt
