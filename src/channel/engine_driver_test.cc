// The HTTP drivers against real servers in this process: httplib's for whole replies, a raw socket where the reply is broken.
#include "channel/engine_driver.h"

#include <arpa/inet.h>
#include <httplib.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <filesystem>
#include <future>
#include <nlohmann/json.hpp>
#include <thread>

#include "support/http_test_server.h"
#include "support/matchers.h"

namespace ckpt {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::Is;
using ::testing::Not;
using testing::TestServer;

// Accepts connections one after the other and lets `serve` do what it likes with each, once the request's first bytes are there.
class RawServer {
 public:
  explicit RawServer(std::function<void(int)> serve) : serve_(std::move(serve)), listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(listener_.get(), 8), 0);
    EXPECT_EQ(::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { run(); });
  }
  ~RawServer() {
    stop.trigger({StatusCode::cancelled, Scope::operation, "test ends"});
    thread_.join();
  }
  [[nodiscard]] std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }

  AbortSignal stop;

 private:
  void run() {
    for (;;) {
      pollfd entries[] = {{listener_.get(), POLLIN, 0}, {stop.fd(), POLLIN, 0}};
      ::poll(entries, 2, -1);
      if (stop.triggered()) return;
      const UniqueFd peer(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      char request[4096];
      if (::recv(peer.get(), request, sizeof request, 0) > 0) serve_(peer.get());
    }
  }
  const std::function<void(int)> serve_;
  UniqueFd listener_;
  int port_ = 0;
  std::thread thread_;
};

void say(int fd, std::string_view text) { EXPECT_EQ(::send(fd, text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size())); }

std::unique_ptr<EngineDriver> driver_of(const std::string& url, EngineKind kind, Duration post_timeout = 20s, const std::string& key = "") {
  Result<std::unique_ptr<EngineDriver>> driver = make_engine_driver({url, "", kind, key, post_timeout});
  EXPECT_OK(driver);
  return std::move(driver).value();
}

Status update(EngineDriver& driver, const UpdateRequest& request = {{{"HOST-a-0", "ipc:///x"}}, "v1"}) {
  const AbortSignal abort;
  std::promise<Status> replied;
  Result<std::unique_ptr<EngineCall>> call = driver.start_update(request, [&replied](const Status& status) { replied.set_value(status); });
  if (!call.ok()) return call.status();
  const Status status = (*call)->wait(Deadline::after(20s), abort);
  EXPECT_EQ(replied.get_future().get(), status);
  return status;
}

TEST(EngineDriver, SendsEachEngineItsOwnBodyAndTheToken) {
  TestServer server;
  server.reply("POST", "/collective_rpc", 200, R"({"results":[null,null]})");
  server.reply("POST", "/update_weights_from_ipc", 200, R"({"success":true,"message":"done"})");
  server.start();
  EXPECT_OK(update(*driver_of(server.url(), EngineKind::vllm, 20s, "secret")));
  EXPECT_EQ(json::parse(server.last_body), json::parse(R"({"method":"update_weights_from_ipc","args":[{"HOST-a-0":"ipc:///x"}],"kwargs":{}})"));
  EXPECT_EQ(server.last_authorization, "Bearer secret");
  for (const EngineKind kind : {EngineKind::sglang, EngineKind::ckpt}) {
    EXPECT_OK(update(*driver_of(server.url(), kind)));
    EXPECT_EQ(json::parse(server.last_body), json::parse(R"({"zmq_handles":{"HOST-a-0":"ipc:///x"},"flush_cache":true,"weight_version":"v1"})"));
    EXPECT_EQ(server.last_authorization, "");
  }
  EXPECT_OK(update(*driver_of(server.url(), EngineKind::sglang), {{}, ""}));
  EXPECT_EQ(json::parse(server.last_body)["weight_version"], json(nullptr));
  EXPECT_OK(update(*driver_of(server.url(), EngineKind::lmdeploy, 20s, "secret")));
  EXPECT_EQ(json::parse(server.last_body), json::parse(R"({"zmq_handles":{"HOST-a-0":"ipc:///x"}})"));
  EXPECT_EQ(server.last_authorization, "Bearer secret");
}

TEST(EngineDriver, JudgesEveryReply) {
  const struct {
    EngineKind kind;
    int status;
    const char* body;
    StatusCode code;
    const char* text;
  } cases[] = {
      {EngineKind::vllm, 200, "", StatusCode::ok, ""},
      {EngineKind::vllm, 200, R"({"results":[]})", StatusCode::ok, ""},
      {EngineKind::vllm, 200, R"({"results":[null,"text"]})", StatusCode::ok, ""},
      {EngineKind::vllm, 200, R"({"results":[{"ckpt_engine":{"session":"ipc:///x","error":null,"weights":"new"}}]})", StatusCode::ok, ""},
      {EngineKind::vllm, 200, R"({"results":[{"ckpt_engine":{"session":"ipc:///x","error":"q_proj did not come","weights":"old"}}]})",
       StatusCode::remote_error, "worker 0: q_proj did not come"},
      {EngineKind::vllm, 200, R"({"results":[{"ckpt_engine":{"session":"ipc:///of the one before","error":null,"weights":"new"}}]})",
       StatusCode::remote_error, "the reply of worker 0 belongs to another call (ipc:///of the one before)"},
      {EngineKind::vllm, 200, R"({"results":[{"ckpt_engine":{"session":"ipc:///x","weights":"new"}},null]})", StatusCode::remote_error,
       "the reply of worker 1 belongs to another call (it names none)"},
      {EngineKind::vllm, 200, R"({"results":[{"ckpt_engine":{"session":"ipc:///x"}},{"ckpt_engine":{"session":"ipc:///x"}}]})",
       StatusCode::remote_error, "the reply of worker 1 belongs to another call"},
      {EngineKind::vllm, 200, R"({"results":[{"ckpt_engine":{}}]})", StatusCode::remote_error, "belongs to another call"},
      {EngineKind::vllm, 200, R"({"results":3})", StatusCode::remote_error, "no \"results\""},
      {EngineKind::vllm, 200, "<html>", StatusCode::remote_error, "no \"results\""},
      {EngineKind::vllm, 400, R"({"detail":"no method"})", StatusCode::remote_error, "400: no method"},
      {EngineKind::vllm, 401, R"({"error":"Unauthorized"})", StatusCode::failed_precondition, "--api-key"},
      {EngineKind::vllm, 404, R"({"detail":"Not Found"})", StatusCode::not_found, "VLLM_SERVER_DEV_MODE=1"},
      {EngineKind::vllm, 500, "Internal Server Error", StatusCode::remote_error, "500: Internal Server Error"},
      {EngineKind::sglang, 200, R"({"success":true,"message":""})", StatusCode::ok, ""},
      {EngineKind::sglang, 200, R"({"success":false,"message":"worker raised"})", StatusCode::remote_error, "worker raised"},
      {EngineKind::sglang, 200, R"({"success":"true"})", StatusCode::remote_error, "says that it failed"},
      {EngineKind::sglang, 200, "", StatusCode::remote_error, "no \"success\""},
      {EngineKind::sglang, 200, "[[[[", StatusCode::remote_error, "no \"success\""},
      {EngineKind::sglang, 400, R"({"success":false,"message":"CUDA out of memory"})", StatusCode::remote_error, "CUDA out of memory"},
      {EngineKind::sglang, 400, R"({"object":"error","message":"body","type":"x","param":null,"code":400})", StatusCode::remote_error, "400: body"},
      {EngineKind::sglang, 403, "", StatusCode::failed_precondition, "no text"},
      {EngineKind::sglang, 302, "", StatusCode::remote_error, "302"},
      {EngineKind::lmdeploy, 200, R"({"success":true,"message":"done"})", StatusCode::ok, ""},
      {EngineKind::lmdeploy, 400, R"({"success":false,"message":"weights may be partially updated"})", StatusCode::remote_error, "partially updated"},
      {EngineKind::lmdeploy, 401, R"({"error":"Unauthorized"})", StatusCode::failed_precondition, "--api-key"},
      {EngineKind::lmdeploy, 404, R"({"detail":"Not Found"})", StatusCode::not_found, "new enough"},
      {EngineKind::lmdeploy, 501, R"({"message":"require backend","type":"not_implemented","code":501})", StatusCode::unsupported, "require backend"},
      {EngineKind::ckpt, 409, R"({"success":false,"message":"another update"})", StatusCode::failed_precondition, "another update"},
      {EngineKind::ckpt, 501, R"({"success":false,"message":"later"})", StatusCode::unsupported, "later"},
      {EngineKind::ckpt, 503, R"({"success":false,"message":"restarting"})", StatusCode::unavailable, "restarting"},
  };
  for (const auto& [kind, status, body, code, text] : cases) {
    TestServer server;
    server.reply("POST", kind == EngineKind::vllm ? "/collective_rpc" : "/update_weights_from_ipc", status, body);
    server.start();
    const Status outcome = update(*driver_of(server.url(), kind));
    EXPECT_THAT(outcome, Is(code, HasSubstr(text))) << status << " " << body;
    EXPECT_EQ(outcome.stage(), outcome.ok() ? "" : "hand-over");
  }
}

TEST(EngineDriver, DoesNotFollowARedirect) {
  TestServer other;
  other.reply("POST", "/stolen", 200, R"({"success":true})");
  other.start();
  TestServer server;
  server.server.Post("/update_weights_from_ipc",
                     [&](const httplib::Request&, httplib::Response& response) { response.set_redirect(other.url() + "/stolen", 307); });
  server.start();
  EXPECT_THAT(update(*driver_of(server.url(), EngineKind::ckpt, 20s, "secret")), Is(StatusCode::remote_error, HasSubstr("307")));
  EXPECT_EQ(other.last_authorization, "");
}

TEST(EngineDriver, ALongReplyIsCutAndIsAnError) {
  TestServer server;
  server.reply("POST", "/update_weights_from_ipc", 200, R"({"success":true,"message":")" + std::string(3 << 20, 'x') + "\"}");
  server.start();
  EXPECT_THAT(update(*driver_of(server.url(), EngineKind::ckpt)), Is(StatusCode::remote_error, HasSubstr("longer than any engine's")));
}

TEST(EngineDriver, RefusedCutAndSilentConnectionsAreToldApart) {
  std::string nobody;
  {
    nobody = RawServer([](int) {}).url();
  }
  EXPECT_THAT(update(*driver_of(nobody, EngineKind::ckpt)), Is(StatusCode::unavailable, HasSubstr("cannot connect")));

  const RawServer closes([](int) {});
  EXPECT_THAT(update(*driver_of(closes.url(), EngineKind::ckpt)), Is(StatusCode::unavailable, HasSubstr("cut before")));

  const RawServer cuts([](int fd) { say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"success\":true"); });
  EXPECT_THAT(update(*driver_of(cuts.url(), EngineKind::ckpt)), Is(StatusCode::unavailable, HasSubstr("cut before")));

  RawServer* self = nullptr;
  RawServer silent([&self](int) {
    pollfd entry{self->stop.fd(), POLLIN, 0};
    ::poll(&entry, 1, 20'000);
  });
  self = &silent;
  EXPECT_THAT(update(*driver_of(silent.url(), EngineKind::ckpt, 100ms)), Is(StatusCode::deadline_exceeded, HasSubstr(silent.url())));
}

// A server that sends a byte of the header now and then would hold a plain client for ever.
TEST(EngineDriver, SlowHeadersEndAtTheTimeoutAndAtACancel) {
  RawServer* self = nullptr;
  RawServer slow([&self](int fd) {
    ::send(fd, "HTTP/1.1 200 OK\r\n", 17, MSG_NOSIGNAL);
    pollfd entries[] = {{self->stop.fd(), POLLIN, 0}, {fd, POLLRDHUP, 0}};
    while (::poll(entries, 2, 20) == 0)
      if (::send(fd, "x", 1, MSG_NOSIGNAL) != 1) return;
  });
  self = &slow;
  EXPECT_THAT(update(*driver_of(slow.url(), EngineKind::ckpt, 200ms)), Is(StatusCode::deadline_exceeded));

  const AbortSignal abort;
  auto driver = driver_of(slow.url(), EngineKind::ckpt);
  Result<std::unique_ptr<EngineCall>> call = driver->start_update({{}, ""}, nullptr);
  ASSERT_OK(call);
  EXPECT_FALSE((*call)->done());
  std::thread canceller([&call] { (*call)->cancel(); });
  EXPECT_THAT((*call)->wait(Deadline::after(20s), abort), Is(StatusCode::cancelled));
  canceller.join();
  EXPECT_TRUE((*call)->done());
}

TEST(EngineDriver, AnAbortEndsTheWaitWithItsReason) {
  RawServer* self = nullptr;
  RawServer silent([&self](int) {
    pollfd entry{self->stop.fd(), POLLIN, 0};
    ::poll(&entry, 1, 20'000);
  });
  self = &silent;
  AbortSignal abort;
  auto driver = driver_of(silent.url(), EngineKind::automatic);
  std::thread aborter([&abort] { abort.trigger({StatusCode::unavailable, Scope::group, "rank 2 is gone"}); });
  EXPECT_THAT(driver->wait_ready(Deadline::after(20s), abort), Is(StatusCode::unavailable, HasSubstr("rank 2 is gone")));
  aborter.join();
}

TEST(EngineDriver, WaitsWhileNotReadyAndEndsAtEveryOtherAnswer) {
  const AbortSignal abort;
  std::string nobody;
  {
    nobody = RawServer([](int) {}).url();
  }
  EXPECT_THAT(driver_of(nobody, EngineKind::vllm)->wait_ready(Deadline::after(1s), abort),
              Is(StatusCode::deadline_exceeded, AllOf(HasSubstr("is not ready"), HasSubstr("cannot connect"))));

  TestServer server;
  std::atomic<int> asked = 0;
  server.server.Get("/ping", [&asked](const httplib::Request&, httplib::Response& response) { response.status = ++asked < 3 ? 503 : 200; });
  server.reply("GET", "/health", 401, "");
  server.start();
  EXPECT_OK(driver_of(server.url(), EngineKind::sglang)->wait_ready(Deadline::after(20s), abort));
  EXPECT_EQ(asked, 3);
  EXPECT_THAT(driver_of(server.url(), EngineKind::vllm)->wait_ready(Deadline::after(20s), abort),
              Is(StatusCode::failed_precondition, HasSubstr("--api-key")));
  TestServer empty;
  empty.start();
  EXPECT_THAT(driver_of(empty.url(), EngineKind::ckpt)->wait_ready(Deadline::after(20s), abort),
              Is(StatusCode::not_found, AllOf(HasSubstr("/ping"), HasSubstr("404"))));
}

TEST(EngineDriver, FindsOutTheKind) {
  const AbortSignal abort;
  {
    TestServer ckpt;
    ckpt.reply("GET", "/weights", 200, R"({"version":null,"state":"empty","tp":1,"workers":[)" + std::string(1 << 20, ' ') + "]}");
    ckpt.reply("GET", "/ping", 200, "");
    ckpt.start();
    auto driver = driver_of(ckpt.url(), EngineKind::automatic);
    EXPECT_THAT(driver->start_update({{}, ""}, nullptr).status(), Is(StatusCode::failed_precondition));
    EXPECT_OK(driver->wait_ready(Deadline::after(20s), abort));
    EXPECT_EQ(driver->kind(), EngineKind::ckpt);
  }
  {
    TestServer sglang;  // answers 405 where lmdeploy answers 200
    sglang.reply("GET", "/update_weights_from_ipc", 405, R"({"detail":"Method Not Allowed"})");
    sglang.reply("GET", "/model_info", 200, R"({"model_path":"m","weight_version":"default"})");
    sglang.reply("GET", "/ping", 200, "");
    sglang.start();
    auto driver = driver_of(sglang.url(), EngineKind::automatic);
    EXPECT_OK(driver->wait_ready(Deadline::after(20s), abort));
    EXPECT_EQ(driver->kind(), EngineKind::sglang);
  }
  {
    TestServer vllm;
    vllm.reply("GET", "/version", 200, R"({"version":"0.32.0"})");
    vllm.reply("GET", "/health", 200, "");
    vllm.start();
    auto driver = driver_of(vllm.url(), EngineKind::automatic);
    EXPECT_OK(driver->wait_ready(Deadline::after(20s), abort));
    EXPECT_EQ(driver->kind(), EngineKind::vllm);
  }
  {
    TestServer lmdeploy;
    lmdeploy.reply("GET", "/update_weights_from_ipc", 200,
                   R"({"ready":false,"message":"awake","backend":"pytorch","device_type":"cuda","checkpoint_engine_version":"0.4.2",
                       "is_sleeping":false,"sleeping_tags":[],"device_uuids":["GPU-1"],"world_size":1})");
    lmdeploy.start();
    auto driver = driver_of(lmdeploy.url(), EngineKind::automatic);
    EXPECT_OK(driver->wait_ready(Deadline::after(20s), abort));
    EXPECT_EQ(driver->kind(), EngineKind::lmdeploy);
  }
  {
    TestServer web;  // a web server that answers everything with a page
    web.reply("GET", ".*", 200, "<html>");
    web.start();
    EXPECT_THAT(driver_of(web.url(), EngineKind::automatic)->wait_ready(Deadline::after(20s), abort),
                Is(StatusCode::not_found, AllOf(HasSubstr("GET /weights: 200"), HasSubstr("GET /version: 200"), HasSubstr("--engine"))));
  }
}

TEST(EngineDriver, SpeaksOverAUnixSocket) {
  const std::string directory = std::filesystem::temp_directory_path() / fmt::format("ckpt-driver-{}", ::getpid());
  std::filesystem::create_directory(directory);
  {
    TestServer server(directory + "/http.sock");
    server.reply("GET", "/ping", 200, "");
    server.reply("POST", "/update_weights_from_ipc", 200, R"({"success":true})");
    server.start();
    const AbortSignal abort;
    Result<std::unique_ptr<EngineDriver>> driver = make_engine_driver({"", directory + "/http.sock", EngineKind::ckpt, "", 20s});
    ASSERT_OK(driver);
    EXPECT_OK((*driver)->wait_ready(Deadline::after(20s), abort));
    EXPECT_OK(update(**driver));
    EXPECT_THAT((*driver)->endpoint(), HasSubstr("http.sock"));
  }
  std::filesystem::remove_all(directory);
}

TEST(EngineDriver, RefusesWhatItCannotDrive) {
  EXPECT_THAT(make_engine_driver({"localhost", "", EngineKind::ckpt, "", 1s}).status(), Is(StatusCode::invalid_argument));
  EXPECT_THAT(make_engine_driver({"http://x", "", EngineKind::ckpt, "a\r\nX: y", 1s}).status(),
              Is(StatusCode::invalid_argument, Not(HasSubstr("X: y"))));
}

TEST(EngineKind, NamesGoBothWays) {
  for (const EngineKind kind : {EngineKind::automatic, EngineKind::vllm, EngineKind::sglang, EngineKind::lmdeploy, EngineKind::ckpt})
    EXPECT_EQ(engine_kind_from_name(name(kind)), kind);
  EXPECT_EQ(engine_kind_from_name("tensorrt"), std::nullopt);
}

}  // namespace
}  // namespace ckpt
