/// One HTTP request of ours to an engine, on a thread of its own, so that a deadline or an abort ends it at once.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "base/deadline.h"
#include "channel/http_url.h"
#include "ckpt/result.h"
#include "os/abort_signal.h"

namespace ckpt {

struct HttpRequest {
  std::string method;  ///< "GET" or "POST"
  std::string path;    ///< after the URL's prefix
  std::string body;    ///< JSON; only of a POST
  std::string bearer;  ///< token; empty: no header
  Duration connect_timeout = std::chrono::seconds(5);
  Duration timeout = std::chrono::seconds(600);  ///< longest silence of the server
  std::size_t max_reply_bytes = std::size_t{1} << 20;
};

struct HttpReply {
  int status = 0;
  std::string body;
  bool truncated = false;  ///< the body was longer than max_reply_bytes; the rest was not read
  [[nodiscard]] bool is_2xx() const { return status >= 200 && status <= 299; }
};

/// Redirects are not followed. Threads: wait, done and cancel from any.
///   unavailable         no connection, or it was cut before the whole reply was there
///   deadline_exceeded   connected, and no byte for `timeout`
class HttpCall {
 public:
  /// Starts the thread. `on_end` runs on it once, when the outcome is known and before `wait` returns it. resource_exhausted: no thread.
  [[nodiscard]] static Result<std::unique_ptr<HttpCall>> start(const HttpUrl& url, HttpRequest request,
                                                               std::function<void(const Result<HttpReply>&)> on_end = nullptr);
  ~HttpCall();  ///< cancels
  HttpCall(const HttpCall&) = delete;
  HttpCall& operator=(const HttpCall&) = delete;

  /// The outcome; or deadline_exceeded or the abort's reason, and the call goes on.
  [[nodiscard]] Result<HttpReply> wait(Deadline deadline, const AbortSignal& abort);
  [[nodiscard]] bool done() const { return ended_.triggered(); }
  /// Ends the call with `reason`, unless it has ended. Does not wait.
  void cancel(const Status& reason) noexcept CKPT_EXCLUDES(mutex_);

 private:
  HttpCall(const HttpUrl& url, HttpRequest request);
  void run(const std::function<void(const Result<HttpReply>&)>& on_end);
  [[nodiscard]] Result<HttpReply> perform();
  [[nodiscard]] Status failure(int library_error, std::string_view library_text, TimePoint begin) const;
  void keep_socket(int fd) CKPT_EXCLUDES(mutex_);
  [[nodiscard]] std::string what() const { return request_.method + " " + url_.text() + request_.path; }

  const HttpUrl url_;
  const HttpRequest request_;
  AbortSignal ended_;                         // triggered when outcome_ is set
  std::optional<Result<HttpReply>> outcome_;  // written by the thread before it triggers ended_, read after
  mutable Mutex mutex_;
  Status cancelled_ CKPT_GUARDED_BY(mutex_);
  UniqueFd socket_ CKPT_GUARDED_BY(mutex_);  // a second descriptor of the library's socket: shut down to end the call, in whatever state it is
  std::thread thread_;
};

}  // namespace ckpt
