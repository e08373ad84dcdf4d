#include "holder/http_server.h"

#include <httplib.h>

#include <filesystem>
#include <future>

#include "os/socket.h"
#include "support/matchers.h"

namespace ckpt {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using testing::Is;

void say_pong(httplib::Server& server) {
  server.Get("/ping", [](const httplib::Request&, httplib::Response& response) { response.set_content("pong", "text/plain"); });
}

bool answers(httplib::Client& client) {
  const auto reply = client.Get("/ping");
  return reply && reply->status == 200;
}

TEST(HttpServer, TakesAnyFreePortAndNoTakenOne) {
  auto first = HttpServer::start({"127.0.0.1", 0, ""}, say_pong);
  ASSERT_OK(first);
  EXPECT_THAT(HttpServer::start({"127.0.0.1", (*first)->port(), ""}, say_pong).status(),
              Is(StatusCode::failed_precondition, HasSubstr("EADDRINUSE")));
  httplib::Client client("127.0.0.1", (*first)->port());
  EXPECT_TRUE(answers(client));
  EXPECT_OK((*first)->stop(Deadline::after(20s)));
  EXPECT_FALSE(answers(client));
}

// More clients than the library's pool has threads, each holding its connection, and one handler that takes long.
TEST(HttpServer, IdleAndBusyConnectionsDoNotKeepOthersWaiting) {
  std::promise<void> release;
  std::shared_future<void> released = release.get_future().share();
  auto server = HttpServer::start({"127.0.0.1", 0, ""}, [&released](httplib::Server& routes) {
    say_pong(routes);
    routes.Post("/long", [&released](const httplib::Request&, httplib::Response&) { released.wait(); });
  });
  ASSERT_OK(server);
  const int port = (*server)->port();
  std::vector<std::thread> busy;
  for (int i = 0; i < 12; ++i) busy.emplace_back([port] { httplib::Client("127.0.0.1", port).Post("/long"); });
  std::vector<std::unique_ptr<httplib::Client>> idle;
  for (int i = 0; i < 24; ++i) {
    idle.push_back(std::make_unique<httplib::Client>("127.0.0.1", port));
    idle.back()->set_keep_alive(true);
    EXPECT_TRUE(answers(*idle.back())) << i;
  }
  release.set_value();
  for (std::thread& thread : busy) thread.join();
}

TEST(HttpServer, AClientThatHoldsItsConnectionEndsTheWaitAtTheDeadline) {
  std::promise<void> release;
  auto server = HttpServer::start({"127.0.0.1", 0, ""}, [&release](httplib::Server& routes) {
    say_pong(routes);
    routes.Get("/long", [&release](const httplib::Request&, httplib::Response&) { release.get_future().wait(); });
  });
  ASSERT_OK(server);
  std::thread client([port = (*server)->port()] { httplib::Client("127.0.0.1", port).Get("/long"); });
  httplib::Client other("127.0.0.1", (*server)->port());
  while (!answers(other)) std::this_thread::yield();
  const Status status = (*server)->stop(Deadline::after(50ms));
  EXPECT_TRUE(status.ok() || status.code() == StatusCode::deadline_exceeded);  // ok: the client had not been accepted yet
  release.set_value();
  client.join();
  EXPECT_OK((*server)->stop(Deadline::after(20s)));
}

TEST(HttpServer, ReplacesADeadSocketFileOnly) {
  const std::string directory = std::filesystem::temp_directory_path() / fmt::format("ckpt-http-{}", ::getpid());
  std::filesystem::create_directory(directory);
  const std::string path = directory + "/engine.sock";
  {
    std::ofstream(path) << "not a socket";
    EXPECT_THAT(HttpServer::start({"", 0, path}, say_pong).status(), Is(StatusCode::failed_precondition, HasSubstr("no socket")));
    std::filesystem::remove(path);
    auto server = HttpServer::start({"", 0, path}, say_pong);
    ASSERT_OK(server);
    EXPECT_THAT(HttpServer::start({"", 0, path}, say_pong).status(), Is(StatusCode::failed_precondition, HasSubstr("in use")));
    httplib::Client client(path, 80);
    client.set_address_family(AF_UNIX);
    EXPECT_TRUE(answers(client));
    std::filesystem::rename(path, path + ".moved");
    std::filesystem::create_hard_link(path + ".moved", path);
    EXPECT_OK((*server)->stop(Deadline::after(20s)));
    std::filesystem::rename(path + ".moved", path);  // as a killed engine leaves it
    EXPECT_OK(HttpServer::start({"", 0, path}, say_pong));
    EXPECT_FALSE(std::filesystem::exists(path));
  }
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace ckpt
