#include "channel/http_url.h"

#include "support/matchers.h"

namespace ckpt {
namespace {

using testing::Is;

TEST(HttpUrl, TakesApartWhatUsersWrite) {
  const struct {
    const char* text;
    HttpUrl url;
  } cases[] = {
      {"http://localhost:19730", {false, "localhost", 19730, "", ""}},
      {"http://localhost:19730/", {false, "localhost", 19730, "", ""}},
      {"https://gateway.example/engine-3/", {true, "gateway.example", 443, "/engine-3", ""}},
      {"http://[::1]:80", {false, "::1", 80, "", ""}},
      {"http://10.0.0.1", {false, "10.0.0.1", 80, "", ""}},
  };
  for (const auto& [text, expected] : cases) {
    const Result<HttpUrl> url = parse_http_url(text);
    ASSERT_OK(url) << text;
    EXPECT_EQ(url->tls, expected.tls) << text;
    EXPECT_EQ(url->host, expected.host) << text;
    EXPECT_EQ(url->port, expected.port) << text;
    EXPECT_EQ(url->prefix, expected.prefix) << text;
  }
  EXPECT_EQ(parse_http_url("http://[::1]:8000/x")->text(), "http://[::1]:8000/x");
}

TEST(HttpUrl, RefusesWhatIsNone) {
  for (const char* text : {"", "localhost:19730", "ftp://x", "http://", "http://:80", "http://x:", "http://x:0", "http://x:65536", "http://x:8a",
                           "http://[::1", "http://u@x", "http://x/?q", "http://x y", "http://x\r\nHost: y"})
    EXPECT_THAT(parse_http_url(text), Is(StatusCode::invalid_argument)) << text;
}

}  // namespace
}  // namespace ckpt
