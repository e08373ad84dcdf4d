/// A real HTTP server in the test's process, on a port or a Unix socket.
#pragma once

#include <httplib.h>
#include <sys/socket.h>

#include <string>
#include <thread>

namespace ckpt::testing {

/// Polls "is it running" because the oldest httplib supported has nothing better.
class TestServer {
 public:
  explicit TestServer(const std::string& unix_socket = "") {
    server.set_keep_alive_timeout(1);
    if (unix_socket.empty()) {
      port_ = server.bind_to_any_port("127.0.0.1");
    } else {
      server.set_address_family(AF_UNIX);
      server.bind_to_port(unix_socket, 80);
    }
  }
  void start() {
    thread_ = std::thread([this] { server.listen_after_bind(); });
    while (!server.is_running()) std::this_thread::yield();
  }
  ~TestServer() {
    server.stop();
    if (thread_.joinable()) thread_.join();
  }
  [[nodiscard]] std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  void reply(const std::string& method, const std::string& path, int status, const std::string& body) {
    auto handler = [this, status, body](const httplib::Request& request, httplib::Response& response) {
      last_body = request.body;
      last_authorization = request.get_header_value("Authorization");
      response.status = status;
      response.set_content(body, "application/json");
    };
    if (method == "GET") server.Get(path, handler);
    if (method == "POST") server.Post(path, handler);
  }

  httplib::Server server;
  std::string last_body;
  std::string last_authorization;

 private:
  int port_ = 0;
  std::thread thread_;
};

}  // namespace ckpt::testing
