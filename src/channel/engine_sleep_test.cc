// The contract with an LMDeploy, against a real HTTP server that keeps its rules: who sleeps, what is refused in which state, key and content type.
#include "channel/engine_sleep.h"

#include <nlohmann/json.hpp>

#include "support/http_test_server.h"
#include "support/matchers.h"

namespace ckpt {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Is;
using ::testing::IsEmpty;
using testing::soon;
using testing::TestServer;

using Tags = std::vector<std::string>;

// What LMDeploy's management routes do, on made-up workers. A wake-up of what does not sleep answers 200 and does nothing, as there.
class Lmdeploy {
 public:
  Lmdeploy() {
    server_.server.Get("/update_weights_from_ipc", guarded(false, [this](const httplib::Request&, httplib::Response& response) {
                         json state = tells;
                         const bool asleep = !sleeping.empty();
                         const bool prepared = std::find(sleeping.begin(), sleeping.end(), "kv_cache") != sleeping.end();
                         state.update({{"is_sleeping", asleep}, {"sleeping_tags", sleeping}, {"ready", prepared && can_receive}});
                         if (!state.contains("message"))
                           state["message"] = prepared ? "worker says no" : "Engine must be sleeping with kv_cache unavailable.";
                         response.set_content(state.dump(), "application/json");
                       }));
    server_.server.Post("/sleep", guarded(true, [this](const httplib::Request& request, httplib::Response& response) {
                          told.push_back("sleep " + request.get_param_value("level"));
                          if (sleep_status < 400 || sleep_status == 500) sleeping = {"kv_cache", "weights"};
                          response.status = sleep_status;
                        }));
    server_.server.Post("/wakeup", guarded(true, [this](const httplib::Request& request, httplib::Response&) {
                          const std::string tag = request.get_param_value("tags");
                          told.push_back("wakeup " + tag);
                          if (tag != "kv_cache" || wakes) std::erase(sleeping, tag);
                        }));
    server_.server.Post("/update_weights_from_ipc", guarded(true, [this](const httplib::Request& request, httplib::Response& response) {
                          told.push_back("update " + request.body);
                          const bool takes = sleeping == Tags{"kv_cache"} && loads;
                          response.status = takes ? 200 : 400;
                          response.set_content(json{{"success", takes}, {"message", takes ? "" : "not prepared, or partially updated"}}.dump(),
                                               "application/json");
                        }));
    server_.start();
  }
  ~Lmdeploy() = default;

  [[nodiscard]] std::unique_ptr<EngineDriver> driver(const std::string& key = "secret") const {
    Result<std::unique_ptr<EngineDriver>> made = make_engine_driver({server_.url(), "", EngineKind::lmdeploy, key, 20s});
    EXPECT_OK(made);
    return std::move(made).value();
  }

  Tags told;
  Tags sleeping;
  bool can_receive = true;
  bool wakes = true;
  bool loads = true;
  int sleep_status = 200;
  json tells{{"backend", "pytorch"},
             {"device_type", "cuda"},
             {"checkpoint_engine_version", "0.4.2"},
             {"device_uuids", {"GPU-a", "GPU-b"}},
             {"worker_ranks", {0, 1}},
             {"world_size", 2},
             {"tp", 2},
             {"dp", 1},
             {"dp_rank", 0},
             {"ep", 1}};

 private:
  using Handler = std::function<void(const httplib::Request&, httplib::Response&)>;
  static httplib::Server::Handler guarded(bool wants_json, Handler handler) {
    return [wants_json, handler = std::move(handler)](const httplib::Request& request, httplib::Response& response) {
      if (request.get_header_value("Authorization") != "Bearer secret") {
        response.status = 401;
      } else if (wants_json && request.get_header_value("Content-Type") != "application/json") {
        response.status = 400;
      } else {
        handler(request, response);
      }
    };
  }
  TestServer server_;
};

const AbortSignal kNone;

const UpdateRequest kBoth{{{"GPU-a", "ipc:///a"}, {"GPU-b", "ipc:///b"}}, "step-7"};

Status call_lmdeploy(EngineDriver& driver, EngineWeights& weights) {
  CKPT_ASSIGN_OR_RETURN(const std::unique_ptr<EngineCall> call, driver.start_update(kBoth, nullptr));
  const Status status = call->wait(soon(), kNone);
  weights = call->weights();
  return status;
}

TEST(EngineSleep, SleepsIsUpdatedAndIsWoken) {
  Lmdeploy engine;
  auto driver = engine.driver();
  EXPECT_OK(driver->wait_ready(soon(), kNone)) << "awake it never says that it is ready";
  EXPECT_EQ(driver->told_dialect(), Dialect::two);
  EXPECT_OK(driver->check_reach(kBoth));
  EXPECT_OK(driver->settle(std::nullopt, soon(), kNone));
  EXPECT_THAT(engine.told, IsEmpty()) << "what we did not put to sleep is not ours to wake";
  EXPECT_OK(driver->prepare(soon(), kNone));
  EXPECT_TRUE(driver->holds());
  EngineWeights weights{};
  EXPECT_OK(call_lmdeploy(*driver, weights));
  EXPECT_EQ(weights, EngineWeights::new_ones);
  EXPECT_OK(driver->settle("step-7", soon(), kNone));
  EXPECT_FALSE(driver->holds());
  EXPECT_THAT(engine.told,
              ElementsAre("sleep 2", "wakeup weights", R"(update {"zmq_handles":{"GPU-a":"ipc:///a","GPU-b":"ipc:///b"}})", "wakeup kv_cache"));
  EXPECT_THAT(engine.sleeping, IsEmpty());
}

// Started with --empty-init, or left so by an update that failed: to sleep twice its workers would wait for each other for ever.
TEST(EngineSleep, WhatSleepsAlreadyIsNotPutToSleepAgain) {
  Lmdeploy engine;
  engine.sleeping = {"kv_cache", "weights"};
  auto driver = engine.driver();
  EXPECT_OK(driver->wait_ready(soon(), kNone));
  EXPECT_OK(driver->prepare(soon(), kNone));
  EXPECT_THAT(engine.told, ElementsAre("wakeup weights"));
  engine.told.clear();
  engine.loads = false;
  EngineWeights weights{};
  EXPECT_THAT(call_lmdeploy(*driver, weights), Is(StatusCode::remote_error, HasSubstr("partially updated")));
  EXPECT_EQ(weights, EngineWeights::unknown);
  EXPECT_TRUE(driver->holds());
  engine.told.clear();
  engine.loads = true;
  driver = engine.driver();  // the next update finds its weights awake
  EXPECT_OK(driver->prepare(soon(), kNone));
  EXPECT_OK(call_lmdeploy(*driver, weights));
  EXPECT_OK(driver->settle("", soon(), kNone));
  EXPECT_THAT(engine.told, ElementsAre(HasSubstr("update"), "wakeup kv_cache"));
}

TEST(EngineSleep, RefusesBeforeAnythingChanges) {
  const struct {
    json told;
    StatusCode code;
    const char* text;
  } cases[] = {
      {{{"backend", "turbomind"}}, StatusCode::unsupported, "backend turbomind on device cuda"},
      {{{"device_type", "ascend"}}, StatusCode::unsupported, "device ascend"},
      {{{"backend", nullptr}}, StatusCode::unsupported, "backend none"},
      {{{"checkpoint_engine_version", nullptr}, {"message", "No module named 'checkpoint_engine'"}},
       StatusCode::failed_precondition,
       "No module named"},
      {{{"device_uuids", json::array()}, {"message", "No workers"}}, StatusCode::failed_precondition, "No workers"},
      {{{"world_size", nullptr}, {"message", "inconsistent topology"}}, StatusCode::failed_precondition, "inconsistent topology"},
  };
  for (const auto& [told, code, text] : cases) {
    Lmdeploy engine;
    engine.tells.update(told);
    auto driver = engine.driver();
    EXPECT_THAT(driver->wait_ready(soon(), kNone), Is(code, HasSubstr(text)));
    EXPECT_THAT(driver->prepare(soon(), kNone), Is(code, HasSubstr(text)));
    EXPECT_FALSE(driver->holds());
    EXPECT_THAT(engine.told, IsEmpty());
  }
  Lmdeploy torn;
  torn.sleeping = {"kv_cache"};
  torn.can_receive = false;
  EXPECT_THAT(torn.driver()->wait_ready(soon(), kNone),
              Is(StatusCode::failed_precondition, AllOf(HasSubstr("worker says no"), HasSubstr("restart"))));
  const Lmdeploy locked;
  EXPECT_THAT(locked.driver("wrong")->wait_ready(soon(), kNone), Is(StatusCode::failed_precondition, HasSubstr("--api-key")));
}

TEST(EngineSleep, EveryWorkerNeedsItsRankAndEveryRankItsWorker) {
  Lmdeploy engine;
  auto driver = engine.driver();
  EXPECT_OK(driver->wait_ready(soon(), kNone));
  EXPECT_THAT(driver->check_reach({{{"GPU-b", "ipc:///b"}}, ""}), Is(StatusCode::invalid_argument, HasSubstr("without a rank: GPU-a")));
  EXPECT_THAT(driver->check_reach({{{"HOST-h-0", "ipc:///a"}, {"HOST-h-1", "ipc:///b"}}, ""}),
              Is(StatusCode::invalid_argument, HasSubstr("without a rank: GPU-a, GPU-b")));
  EXPECT_THAT(driver->check_reach({{{"GPU-a", ""}, {"GPU-b", ""}, {"GPU-c", ""}}, ""}),
              Is(StatusCode::invalid_argument, HasSubstr("the devices of these ranks: GPU-c")));
  engine.tells["dp"] = 4;
  EXPECT_OK(driver->wait_ready(soon(), kNone));
  EXPECT_THAT(driver->check_reach(kBoth), Is(StatusCode::invalid_argument, HasSubstr("one of 4 servers (dp)")));
  EXPECT_OK(driver->check_reach({kBoth.addresses, "", 4}));
}

TEST(EngineSleep, AFailureInBetweenLeavesItAsleep) {
  {
    Lmdeploy engine;  // that has no such route: nothing was given up
    engine.sleep_status = 404;
    auto driver = engine.driver();
    EXPECT_THAT(driver->prepare(soon(), kNone), Is(StatusCode::not_found, HasSubstr("/sleep?level=2")));
    EXPECT_FALSE(driver->holds());
  }
  {
    Lmdeploy engine;  // that failed while it went to sleep
    engine.sleep_status = 500;
    auto driver = engine.driver();
    EXPECT_THAT(driver->prepare(soon(), kNone), Is(StatusCode::remote_error));
    EXPECT_TRUE(driver->holds());
  }
  {
    Lmdeploy engine;  // whose workers turn out not to be able to
    engine.can_receive = false;
    auto driver = engine.driver();
    EXPECT_THAT(driver->prepare(soon(), kNone), Is(StatusCode::remote_error, AllOf(HasSubstr("was put to sleep"), HasSubstr("worker says no"))));
    EXPECT_TRUE(driver->holds());
    EXPECT_THAT(engine.told, ElementsAre("sleep 2", "wakeup weights"));
  }
  {
    Lmdeploy engine;  // that says 200 and sleeps on
    engine.wakes = false;
    auto driver = engine.driver();
    EXPECT_OK(driver->prepare(soon(), kNone));
    EXPECT_THAT(driver->settle("v", soon(), kNone), Is(StatusCode::remote_error, HasSubstr("sleeps on after /wakeup: kv_cache")));
    EXPECT_TRUE(driver->holds());
  }
}

TEST(EngineSleep, TheVersionOfThePackageTellsTheDialect) {
  const auto dialect = [](const char* version) {
    SleeperState state;
    state.package_version = version;
    return dialect_of(state);
  };
  EXPECT_EQ(dialect("0.3.4"), Dialect::one);
  EXPECT_EQ(dialect("0.1.2,0.3.4"), Dialect::one);
  EXPECT_EQ(dialect("0.4.0"), Dialect::two);
  EXPECT_EQ(dialect("0.4.3rc0"), Dialect::two);
  EXPECT_EQ(dialect("0.10"), Dialect::two);
  EXPECT_EQ(dialect("1.0.0"), Dialect::two);
  EXPECT_EQ(dialect("0.3.4,0.4.2"), Dialect::automatic);
  for (const char* odd : {"", "main", "4", "0.x", ","}) EXPECT_EQ(dialect(odd), Dialect::automatic) << odd;
}

TEST(EngineSleep, ABodyThatIsNoStateIsAnError) {
  for (const char* body : {"", "[]", "{}", "<html>", "\"ready\""})
    EXPECT_THAT(read_sleeper_state("http://x", {200, body, false}).status(), Is(StatusCode::remote_error, HasSubstr("no \"ready\"")));
  const Result<SleeperState> odd =
      read_sleeper_state("http://x", {200, R"({"ready":1,"sleeping_tags":[1,"a"],"device_uuids":{},"dp":-3,"backend":7})", false});
  ASSERT_OK(odd);
  EXPECT_FALSE(odd->ready);
  EXPECT_THAT(odd->sleeping_tags, ElementsAre("a"));
  EXPECT_THAT(odd->device_uuids, IsEmpty());
  EXPECT_EQ(odd->dp, 1U);
}

}  // namespace
}  // namespace ckpt
