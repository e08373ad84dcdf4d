// Holding a vLLM's requests over an update, and what its workers say of their weights, against a real server in this process.
#include "channel/engine_hold.h"

#include <nlohmann/json.hpp>

#include "channel/engine_driver.h"
#include "support/http_test_server.h"
#include "support/matchers.h"

namespace ckpt {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using ::testing::HasSubstr;
using testing::Is;
using testing::TestServer;

std::unique_ptr<EngineDriver> driver_at(const std::string& url, EngineKind kind) {
  Result<std::unique_ptr<EngineDriver>> driver = make_engine_driver({url, "", kind, "", 20s});
  EXPECT_OK(driver);
  return std::move(driver).value();
}

// What a vLLM was told, in order.
struct HeldEngine {
  TestServer server;
  std::vector<std::string> told;
  void route(const std::string& path, int status, const std::string& body = "{}") {
    server.server.Post(path, [this, path, status, body](const httplib::Request& request, httplib::Response& response) {
      const std::string query = request.has_param("mode") ? "?mode=" + request.get_param_value("mode") : "";
      told.push_back(path + query + (request.body.empty() ? "" : " " + request.body));
      response.status = status;
      response.set_content(body, "application/json");
    });
  }
};

TEST(EngineHold, HoldsRequestsUntilTheWeightsAreWhole) {
  const AbortSignal abort;
  const Deadline deadline = Deadline::after(20s);
  HeldEngine engine;
  for (const char* path : {"/pause", "/reset_prefix_cache", "/update_weight_version", "/resume"}) engine.route(path, 200);
  engine.server.start();
  auto driver = driver_at(engine.server.url(), EngineKind::vllm);
  EXPECT_OK(driver->settle(std::nullopt, deadline, abort));
  EXPECT_TRUE(engine.told.empty()) << "what we did not stop is not ours to let go on";
  EXPECT_OK(driver->prepare(deadline, abort));
  EXPECT_TRUE(driver->holds());
  EXPECT_OK(driver->settle("step-7", deadline, abort));
  EXPECT_FALSE(driver->holds());
  EXPECT_EQ(engine.told,
            (std::vector<std::string>{"/pause?mode=keep", "/reset_prefix_cache", R"(/update_weight_version {"new_version":"step-7"})", "/resume"}));
  engine.told.clear();
  EXPECT_OK(driver->prepare(deadline, abort));
  EXPECT_OK(driver->settle(std::nullopt, deadline, abort));
  EXPECT_EQ(engine.told, (std::vector<std::string>{"/pause?mode=keep", "/resume"})) << "old weights: nothing to announce";
  EXPECT_TRUE(driver->notes().empty());
}

TEST(EngineHold, WeightsThatChangeHaveNoVersion) {
  const AbortSignal abort;
  const Deadline deadline = Deadline::after(20s);
  HeldEngine engine;
  for (const char* path : {"/pause", "/reset_prefix_cache", "/update_weight_version", "/resume"}) engine.route(path, 200);
  engine.server.reply("GET", "/weight_info", 200, R"({"weight_version": "step-6"})");
  engine.server.start();
  auto driver = driver_at(engine.server.url(), EngineKind::vllm);
  EXPECT_OK(driver->prepare(deadline, abort));
  EXPECT_EQ(engine.told.back(), R"(/update_weight_version {"new_version":""})") << "also where nobody comes to tell a new one";
  EXPECT_OK(driver->settle(std::nullopt, deadline, abort));
  EXPECT_EQ(engine.told, (std::vector<std::string>{"/pause?mode=keep", R"(/update_weight_version {"new_version":""})",
                                                   R"(/update_weight_version {"new_version":"step-6"})", "/resume"}))
      << "old weights are called as before";
  EXPECT_OK(driver->prepare(deadline, abort));
  EXPECT_OK(driver->settle("step-7", deadline, abort));
  EXPECT_EQ(engine.told[engine.told.size() - 2], R"(/update_weight_version {"new_version":"step-7"})");
  EXPECT_TRUE(driver->notes().empty());
}

TEST(EngineHold, APauseThatWasThereStaysIfItIsNotOurs) {
  const AbortSignal abort;
  const Deadline deadline = Deadline::after(20s);
  for (const bool paused : {true, false}) {
    HeldEngine engine;
    for (const char* path : {"/pause", "/reset_prefix_cache", "/update_weight_version", "/resume"}) engine.route(path, 200);
    engine.server.reply("GET", "/is_paused", 200, json{{"is_paused", paused}}.dump());
    engine.server.start();
    auto driver = driver_at(engine.server.url(), EngineKind::vllm);
    EXPECT_OK(driver->prepare(deadline, abort));
    EXPECT_OK(driver->settle("v1", deadline, abort));
    EXPECT_EQ(engine.told.back(), "/resume") << "of a pause that may be left over from an update";
    EXPECT_OK(driver->prepare(deadline, abort));
    EXPECT_EQ(driver->leave_paused(), paused);
    EXPECT_OK(driver->settle("v2", deadline, abort));
    EXPECT_FALSE(driver->holds());
    EXPECT_EQ(engine.told.back(), paused ? R"(/update_weight_version {"new_version":"v2"})" : "/resume");
    EXPECT_EQ(driver->notes().size(), paused ? 1U : 0U);
  }
}

TEST(EngineHold, ALackingRouteIsANoteAndARefusedKeyAnError) {
  const AbortSignal abort;
  const Deadline deadline = Deadline::after(20s);
  HeldEngine older;
  older.server.start();
  auto driver = driver_at(older.server.url(), EngineKind::vllm);
  EXPECT_OK(driver->prepare(deadline, abort));
  EXPECT_FALSE(driver->holds());
  EXPECT_OK(driver->settle("v1", deadline, abort));
  ASSERT_EQ(driver->notes().size(), 3U);
  EXPECT_THAT(driver->notes()[0], HasSubstr("no /pause: requests were not held"));
  EXPECT_THAT(driver->notes()[2], HasSubstr("/update_weight_version"));

  HeldEngine locked;
  locked.route("/pause", 401);
  locked.server.start();
  driver = driver_at(locked.server.url(), EngineKind::vllm);
  EXPECT_THAT(driver->prepare(deadline, abort), Is(StatusCode::failed_precondition, HasSubstr("--api-key")));
  EXPECT_FALSE(driver->holds());

  HeldEngine stuck;
  stuck.route("/pause", 200);
  stuck.route("/resume", 500, R"({"detail":"engine core died"})");
  stuck.server.start();
  driver = driver_at(stuck.server.url(), EngineKind::vllm);
  EXPECT_OK(driver->prepare(deadline, abort));
  EXPECT_THAT(driver->settle(std::nullopt, deadline, abort), Is(StatusCode::remote_error, HasSubstr("engine core died")));
  EXPECT_TRUE(driver->holds());

  HeldEngine busy;  // whose cache could not be emptied
  busy.route("/reset_prefix_cache", 200, R"({"success":false})");
  busy.server.start();
  driver = driver_at(busy.server.url(), EngineKind::vllm);
  EXPECT_OK(driver->settle("", deadline, abort));
  ASSERT_EQ(driver->notes().size(), 1U);
  EXPECT_THAT(driver->notes()[0], HasSubstr("what it cached under the old weights stays"));

  std::string gone;
  {
    HeldEngine ended;
    ended.server.start();
    gone = ended.server.url();
  }
  driver = driver_at(gone, EngineKind::vllm);
  EXPECT_THAT(driver->prepare(deadline, abort), Is(StatusCode::unavailable));
  EXPECT_TRUE(driver->holds()) << "without an answer nobody knows";

  HeldEngine other;  // engines of other kinds hold their requests themselves
  other.server.start();
  driver = driver_at(other.server.url(), EngineKind::ckpt);
  EXPECT_OK(driver->prepare(deadline, abort));
  EXPECT_OK(driver->settle("v1", deadline, abort));
  EXPECT_TRUE(driver->notes().empty());
}

TEST(EngineHold, TellsWhichWeightsTheWorkersSayTheyHave) {
  const std::map<std::string, std::string> two{{"HOST-a-0", "ipc:///x"}, {"HOST-a-1", "ipc:///y"}};
  const auto weights_after = [&](const std::string& first, const std::string& second) {
    TestServer server;
    const auto said = [](const char* session, const std::string& state) { return json{{"ckpt_engine", {{"session", session}, {"weights", state}}}}; };
    server.reply("POST", "/collective_rpc", 200, json{{"results", {said("ipc:///x", first), said("ipc:///y", second)}}}.dump());
    server.start();
    const AbortSignal abort;
    auto call = driver_at(server.url(), EngineKind::vllm)->start_update({two, "v1"}, nullptr);
    EXPECT_OK(call);
    EXPECT_OK((*call)->wait(Deadline::after(20s), abort));
    return (*call)->weights();
  };
  EXPECT_EQ(weights_after("old", "old"), EngineWeights::old_ones);
  EXPECT_EQ(weights_after("new", "new"), EngineWeights::new_ones);
  EXPECT_EQ(weights_after("old", "new"), EngineWeights::torn);
  EXPECT_EQ(weights_after("new", "torn"), EngineWeights::torn);
  EXPECT_EQ(weights_after("new", "better"), EngineWeights::unknown);
}

TEST(EngineHold, TellsWhetherAnUpdateBeforeLeftTheEngineHeld) {
  const auto pause_is_others = [](const json& said) {
    const std::map<std::string, std::string> one{{"HOST-a-0", "ipc:///x"}};
    json result{{"session", "ipc:///x"}, {"weights", "new"}};
    result.update(said);
    TestServer server;
    server.reply("POST", "/collective_rpc", 200, json{{"results", {{{"ckpt_engine", result}}}}}.dump());
    server.start();
    const AbortSignal abort;
    auto call = driver_at(server.url(), EngineKind::vllm)->start_update({one, "v1"}, nullptr);
    EXPECT_OK(call);
    EXPECT_OK((*call)->wait(Deadline::after(20s), abort));
    return (*call)->pause_is_others();
  };
  EXPECT_TRUE(pause_is_others({{"left_held", false}}));
  EXPECT_FALSE(pause_is_others({{"left_held", true}}));
  EXPECT_FALSE(pause_is_others({{"left_held", "no"}}));
  EXPECT_FALSE(pause_is_others(json::object())) << "an older worker";
}

}  // namespace
}  // namespace ckpt
