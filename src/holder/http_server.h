/// An HTTP server on one TCP port or Unix socket, with as many threads as it has busy connections.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "base/deadline.h"
#include "ckpt/result.h"
#include "os/abort_signal.h"

namespace httplib {
class Server;
}

namespace ckpt {

struct HttpListenAddress {
  std::string host;
  int port = 0;             ///< 0: any free one
  std::string unix_socket;  ///< instead of host and port; a file there that nobody listens on is replaced
};

/// Owns its listening thread and socket file. Handlers run on threads of the server, several at a time.
class HttpServer {
 public:
  /// Listens once `add_routes` has run. failed_precondition: the address is taken. Other errors keep the system's text.
  [[nodiscard]] static Result<std::unique_ptr<HttpServer>> start(const HttpListenAddress& address,
                                                                 const std::function<void(httplib::Server&)>& add_routes);
  ~HttpServer();  ///< stops, and waits for the handlers
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  [[nodiscard]] int port() const { return port_; }  ///< of TCP
  /// Takes no more connections and waits for those that are open. deadline_exceeded: a client still holds one.
  [[nodiscard]] Status stop(Deadline deadline);

 private:
  explicit HttpServer(HttpListenAddress address);
  [[nodiscard]] Status bind();
  [[nodiscard]] Status run();

  const HttpListenAddress address_;
  std::unique_ptr<httplib::Server> server_;
  int port_ = 0;
  bool owns_file_ = false;
  AbortSignal ended_;  // the listening thread has returned
  std::thread thread_;
};

}  // namespace ckpt
