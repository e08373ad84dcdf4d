#include "channel/http_url.h"

#include <charconv>

namespace ckpt {
namespace {

Status bad(std::string_view text, std::string_view why) {
  return Status(StatusCode::invalid_argument, Scope::operation, "engine endpoint \"{}\": {}", text, why)
      .advise("write it as http://HOST:PORT, for example http://localhost:19730");
}

bool clean(std::string_view text) {
  for (const char c : text)
    if (static_cast<unsigned char>(c) <= 0x20 || c == 0x7f || c == '@' || c == '?' || c == '#' || c == '\\') return false;
  return true;
}

}  // namespace

std::string HttpUrl::authority() const {
  const bool ipv6 = host.find(':') != std::string::npos;
  return fmt::format("{}{}{}:{}", ipv6 ? "[" : "", host, ipv6 ? "]" : "", port);
}

std::string HttpUrl::text() const {
  return fmt::format("{}://{}{}{}", tls ? "https" : "http", authority(), prefix,
                     unix_socket.empty() ? std::string() : fmt::format(" (socket {})", unix_socket));
}

Result<HttpUrl> parse_http_url(std::string_view text) {
  HttpUrl url;
  std::string_view rest = text;
  if (rest.starts_with("https://")) {
    url.tls = true;
    url.port = 443;
    rest.remove_prefix(8);
  } else if (rest.starts_with("http://")) {
    rest.remove_prefix(7);
  } else {
    return bad(text, "not a URL of scheme http or https");
  }
  if (!clean(rest)) return bad(text, "user names, queries, fragments and blanks have no meaning here");
  const std::size_t slash = rest.find('/');
  std::string_view authority = rest.substr(0, slash);
  if (slash != std::string_view::npos) url.prefix = rest.substr(slash);
  while (url.prefix.ends_with('/')) url.prefix.pop_back();
  const bool bracketed = authority.starts_with('[');
  const std::size_t host_end = bracketed ? authority.find(']') : authority.find(':');
  if (bracketed && host_end == std::string_view::npos) return bad(text, "the bracket of the IPv6 address is not closed");
  url.host = bracketed ? authority.substr(1, host_end - 1) : authority.substr(0, host_end);
  if (url.host.empty()) return bad(text, "no host");
  authority = host_end == std::string_view::npos ? std::string_view{} : authority.substr(host_end + (bracketed ? 1 : 0));
  if (authority.empty()) return url;
  const auto [end, error] = std::from_chars(authority.data() + 1, authority.data() + authority.size(), url.port);
  if (authority.front() != ':' || error != std::errc{} || end != authority.data() + authority.size() || url.port < 1 || url.port > 65535)
    return bad(text, "the port is no number from 1 to 65535");
  return url;
}

}  // namespace ckpt
