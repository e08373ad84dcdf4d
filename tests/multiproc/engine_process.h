/// A real `ckpt-engine engine` with its workers, and the HTTP calls that tests make to it.
#pragma once

#include <gtest/gtest.h>
#include <httplib.h>
#include <poll.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "os/process.h"
#include "os/wait_fd.h"
#include "support/matchers.h"

namespace ckpt::testing {

using nlohmann::json;
using namespace std::chrono_literals;

struct HttpAnswer {
  int status = 0;  ///< 0: no answer
  json body;
};

/// Everything about a process that a failed test wants to see is on standard error, which the engine shares with the test.
class EngineProcess {
 public:
  /// Starts it and waits until it listens. `arguments` follow `--model DIR --tp N`.
  EngineProcess(const std::string& model, int tp, std::vector<std::string> arguments = {}, std::vector<std::string> environment = {}) {
    int pipe_fds[2] = {-1, -1};
    EXPECT_EQ(::pipe2(pipe_fds, O_CLOEXEC), 0);
    output_.reset(pipe_fds[0]);
    UniqueFd output_end(pipe_fds[1]);
    ProcessOptions options;
    options.command = {CKPT_ENGINE_BINARY, "engine", "--model", model, "--tp", std::to_string(tp)};
    for (const char* argument : {"--json", "--log-level", "error", "--heartbeat-interval", "100ms", "--heartbeat-timeout", "2s"})
      options.command.emplace_back(argument);
    if (std::find(arguments.begin(), arguments.end(), "--port") == arguments.end()) options.command.insert(options.command.end(), {"--port", "0"});
    options.command.insert(options.command.end(), arguments.begin(), arguments.end());
    options.environment = std::move(environment);
    options.fds = {{output_end.get(), STDOUT_FILENO}};
    Result<Process> process = Process::spawn(options);
    EXPECT_OK(process);
    process_.emplace(std::move(process).value());
    output_end.reset();
    const json first = json::parse(read_line(), nullptr, false);
    if (first.is_object() && first.contains("port")) port_ = first["port"];
  }

  [[nodiscard]] int port() const { return port_; }
  [[nodiscard]] std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] pid_t pid() const { return process_->pid(); }

  [[nodiscard]] HttpAnswer call(const std::string& method, const std::string& path, const std::string& body = "", const std::string& key = "") const {
    httplib::Client client("127.0.0.1", port_);
    client.set_read_timeout(60);
    httplib::Headers headers;
    if (!key.empty()) headers.emplace("Authorization", "Bearer " + key);
    const httplib::Result reply = method == "GET" ? client.Get(path, headers) : client.Post(path, headers, body, "application/json");
    if (!reply) return {};
    return {reply->status, json::parse(reply->body, nullptr, false)};
  }
  [[nodiscard]] json weights() const { return call("GET", "/weights").body; }

  /// Until GET /ping says that an update can be taken.
  void wait_ready() const {
    wait_until([this] { return call("GET", "/ping").status == 200; });
  }
  template <typename Condition>
  static void wait_until(Condition condition) {
    const Deadline deadline = Deadline::after(60s);
    const AbortSignal never;
    while (!condition()) {
      ASSERT_OK(deadline.check("what the test waits for"));
      static_cast<void>(pause_for(5ms, never));
    }
  }

  /// The worker processes, by rank (they carry RANK in their environment).
  [[nodiscard]] std::vector<pid_t> workers() const {
    std::map<std::string, pid_t> by_rank;
    for (const auto& thread : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid()))) {
      std::ifstream children(thread.path() / "children");
      for (pid_t child = 0; children >> child;) {
        const std::string environment = std::string(1, '\0') + slurp(fmt::format("/proc/{}/environ", child));
        const std::size_t at = environment.find(std::string("\0RANK=", 6));
        if (at != std::string::npos) by_rank[environment.substr(at + 6, environment.find('\0', at + 1) - at - 6)] = child;
      }
    }
    std::vector<pid_t> pids;
    for (const auto& [rank, child] : by_rank) pids.push_back(child);
    return pids;
  }

  void send_signal(int number) const { EXPECT_OK(process_->signal(number)); }
  /// How it ended, within `timeout`.
  ExitStatus wait_exit(Duration timeout = 60s) {
    const AbortSignal never;
    const Result<ExitStatus> exit = process_->wait(Deadline::after(timeout), never);
    EXPECT_OK(exit);
    return exit.ok() ? *exit : ExitStatus{-1, 0};
  }

 private:
  static std::string slurp(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }
  std::string read_line() {
    std::string line;
    const AbortSignal never;
    const Deadline deadline = Deadline::after(60s);
    while (line.find('\n') == std::string::npos && wait_until_ready(output_.get(), POLLIN, deadline, never, "the engine's first line").ok()) {
      char buffer[512];
      const ssize_t got = ::read(output_.get(), buffer, sizeof buffer);
      if (got <= 0) break;
      line.append(buffer, static_cast<std::size_t>(got));
    }
    return line.substr(0, line.find('\n'));
  }

  UniqueFd output_;
  std::optional<Process> process_;
  int port_ = 0;
};

/// Whether a process is there and no zombie.
inline bool alive(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string text;
  std::getline(file, text);
  const std::size_t end = text.rfind(')');
  return end != std::string::npos && text[end + 2] != 'Z' && text[end + 2] != 'X';
}

}  // namespace ckpt::testing
