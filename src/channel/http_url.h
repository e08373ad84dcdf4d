/// Where an engine's HTTP server listens: the endpoint that a user gave, taken apart.
#pragma once

#include <string>
#include <string_view>

#include "ckpt/result.h"

namespace ckpt {

/// `http://host:port/prefix`. With a Unix socket, host and port only fill the Host header.
struct HttpUrl {
  bool tls = false;
  std::string host;  ///< IPv6 without brackets
  int port = 80;
  std::string prefix;       ///< put before every route: "" or "/engine-3", without a slash at the end
  std::string unix_socket;  ///< path of the server's socket; empty: TCP

  /// `host:port` for the Host header, IPv6 in brackets.
  [[nodiscard]] std::string authority() const;
  /// For errors: the endpoint, and the socket if there is one. Never holds a secret: user names in the URL are refused.
  [[nodiscard]] std::string text() const;
};

/// invalid_argument: no URL of scheme http or https, a port out of range, a user name, query or fragment.
[[nodiscard]] Result<HttpUrl> parse_http_url(std::string_view text);

}  // namespace ckpt
