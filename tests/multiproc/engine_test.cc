// The weight-holding engine as processes: what clients see before, during and after updates that succeed, fail, or lose a process.
#include "multiproc/engine_process.h"
#include "multiproc/native_sender.h"

#include <atomic>
#include <csignal>

#include "holder/handle_map.h"
#include "holder/model.h"
#include "holder/shard_copy.h"
#include "holder/worker_layout.h"
#include "os/limits.h"
#include "os/socket.h"

namespace ckpt::testing {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

constexpr int kTp = 2;

class Engine : public ::testing::Test {
 protected:
  Engine() : parameters_(write_tiny_checkpoint(directory_.path())) {}

  [[nodiscard]] NativeSender sender(const EngineProcess& engine) const { return NativeSender(engine.url(), kTp, parameters_); }

  /// What GET /weights must show for the content of `seed`.
  [[nodiscard]] json expected_workers(std::uint64_t seed) const {
    const Result<HolderModel> model = load_model(directory_.path());
    EXPECT_OK(model);
    json workers = json::array();
    for (std::uint32_t rank = 0; rank < kTp; ++rank) {
      const Result<WorkerLayout> layout = make_worker_layout(*model, kTp, rank);
      EXPECT_OK(layout);
      json tensors = json::array();
      for (std::size_t i = 0; i < model->parameters.size(); ++i) {
        const Parameter& parameter = model->parameters[i];
        const TensorShard& shard = layout->shards[i].shard;
        const Bytes whole = tiny_content(parameter, seed);
        Bytes part;
        for (std::uint64_t run = 0; run < shard.num_runs; ++run) {
          const auto begin = whole.begin() + static_cast<std::ptrdiff_t>(shard.source_offset_bytes + run * shard.stride_bytes);
          part.insert(part.end(), begin, begin + static_cast<std::ptrdiff_t>(shard.run_bytes));
        }
        tensors.push_back({{"name", parameter.name},
                           {"dtype", name(parameter.dtype)},
                           {"shape", shard.shape},
                           {"bytes", part.size()},
                           {"xxh3", fmt::format("{:016x}", digest_of(part))}});
      }
      workers.push_back({{"rank", rank}, {"tensors", tensors}});
    }
    return workers;
  }

  void expect_serves(const EngineProcess& engine, const json& version, std::uint64_t seed) const {
    const json weights = engine.weights();
    EXPECT_EQ(weights["version"], version);
    EXPECT_EQ(weights["state"], "serving");
    EXPECT_TRUE(weights["workers"] == expected_workers(seed)) << "digests differ from those of seed " << seed;
  }

  const TemporaryDirectory directory_;
  const std::vector<Parameter> parameters_;
};

TEST_F(Engine, TakesTwoUpdatesInARowWhileClientsPoll) {
  const EngineProcess engine(directory_.path(), kTp, {"--wait-for-initial-weights"});
  engine.wait_ready();
  EXPECT_EQ(engine.call("GET", "/health").status, 503);
  EXPECT_EQ(engine.weights(), json::parse(R"({"version":null,"state":"empty","tp":2,"workers":[{"rank":0,"tensors":[]},{"rank":1,"tensors":[]}]})"));

  std::atomic<bool> stop = false;
  std::atomic<int> answers = 0;
  std::vector<std::thread> pollers;
  for (int i = 0; i < 4; ++i)
    pollers.emplace_back([&] {
      while (!stop) {
        const HttpAnswer answer = engine.call("GET", "/weights");
        EXPECT_EQ(answer.status, 200);
        EXPECT_THAT(answer.body["state"], AnyOf("empty", "updating", "serving"));
        ++answers;
      }
    });
  NativeSender sender = this->sender(engine);
  EXPECT_OK(sender.send({.seed = 1, .version = "v1"}));
  expect_serves(engine, "v1", 1);
  EXPECT_EQ(engine.call("GET", "/health").status, 200);
  EXPECT_OK(sender.send({.seed = 2, .version = "v2"}));
  expect_serves(engine, "v2", 2);
  EXPECT_OK(sender.send({.seed = 3, .version = ""}));  // a sender that gives no version
  expect_serves(engine, nullptr, 3);
  stop = true;
  for (std::thread& poller : pollers) poller.join();
  EXPECT_GT(answers, 0);
}

TEST_F(Engine, AFailedUpdateLeavesTheVersionBefore) {
  const EngineProcess engine(directory_.path(), kTp);
  engine.wait_ready();
  NativeSender sender = this->sender(engine);
  const Status give_up(StatusCode::cancelled, Scope::operation, "the sender gives up");
  EXPECT_FALSE(sender.send({.before_offer = [&](std::uint32_t bucket) { return bucket == 1 ? give_up : Status::success(); }}).ok());
  EXPECT_EQ(engine.weights()["state"], "empty");
  ASSERT_OK(sender.send({.seed = 1, .version = "v1"}));

  EXPECT_FALSE(
      sender.send({.seed = 2, .version = "v2", .before_offer = [&](std::uint32_t bucket) { return bucket == 2 ? give_up : Status::success(); }})
          .ok());
  expect_serves(engine, "v1", 1);
  EXPECT_THAT(sender.send({.seed = 2, .version = "v2", .change_parameters = [](auto& parameters) { parameters.pop_back(); }}),
              Is(StatusCode::remote_error, HasSubstr("never came")));
  expect_serves(engine, "v1", 1);
  EXPECT_THAT(sender.send({.seed = 2, .version = "v2", .change_parameters = [](auto& parameters) { parameters[3].name = "stranger"; }}),
              Is(StatusCode::remote_error, HasSubstr("stranger")));
  expect_serves(engine, "v1", 1);
  ASSERT_OK(sender.send({.seed = 2, .version = "v2"}));
  expect_serves(engine, "v2", 2);
}

TEST_F(Engine, AWorkerKilledOrStoppedInAnUpdateComesBackWithTheVersionBefore) {
  const EngineProcess engine(directory_.path(), kTp);
  engine.wait_ready();
  NativeSender sender = this->sender(engine);
  ASSERT_OK(sender.send({.seed = 1, .version = "v1"}));
  for (const int number : {SIGKILL, SIGSTOP})
    for (const std::size_t rank : {0u, 1u}) {
      const auto strike = [&](std::uint32_t bucket) {
        if (bucket == 1) ::kill(engine.workers().at(rank), number);
        return Status::success();
      };
      const TimePoint begin = Clock::real().now();
      EXPECT_FALSE(sender.send({.seed = 2, .version = "v2", .before_offer = strike}).ok());
      EXPECT_LT(Clock::real().now() - begin, 30s);
      engine.wait_ready();
      expect_serves(engine, "v1", 1);
    }
  ASSERT_OK(sender.send({.seed = 2, .version = "v2"}));
  expect_serves(engine, "v2", 2);
}

TEST_F(Engine, AnIdleWorkerKilledOrStoppedComesBackWithItsWeights) {
  const EngineProcess engine(directory_.path(), kTp);
  engine.wait_ready();
  NativeSender sender = this->sender(engine);
  ASSERT_OK(sender.send({.seed = 1, .version = "v1"}));
  for (const int number : {SIGKILL, SIGSTOP}) {
    const pid_t victim = engine.workers().at(1);
    ::kill(victim, number);
    EngineProcess::wait_until([&] { return engine.call("GET", "/ping").status == 503; });
    expect_serves(engine, "v1", 1);
    engine.wait_ready();
    EXPECT_FALSE(alive(victim));
    EXPECT_EQ(engine.workers().size(), 2u);
    expect_serves(engine, "v1", 1);
  }
  ASSERT_OK(sender.send({.seed = 2, .version = "v2"}));
  expect_serves(engine, "v2", 2);
}

// A worker that comes back checks the memory it finds: here somebody has written into it.
TEST_F(Engine, DamagedWeightsAreNotServed) {
  const EngineProcess engine(directory_.path(), kTp);
  engine.wait_ready();
  NativeSender sender = this->sender(engine);
  ASSERT_OK(sender.send({.seed = 1, .version = "v1"}));
  int damaged = 0;
  for (const auto& entry : std::filesystem::directory_iterator(fmt::format("/proc/{}/fd", engine.pid()))) {
    std::error_code ignored;
    if (std::filesystem::read_symlink(entry.path(), ignored).string().find("ckpt-engine weights") == std::string::npos) continue;
    std::fstream(entry.path(), std::ios::in | std::ios::out | std::ios::binary) << "damage, damage, damage";
    ++damaged;
  }
  ASSERT_EQ(damaged, 4);
  ::kill(engine.workers().at(0), SIGKILL);
  EngineProcess::wait_until([&] { return engine.weights()["state"] == "torn"; });
  EXPECT_EQ(engine.weights()["version"], nullptr);
  engine.wait_ready();
  ASSERT_OK(sender.send({.seed = 2, .version = "v2"}));
  expect_serves(engine, "v2", 2);
}

TEST_F(Engine, OneUpdateAtATime) {
  const EngineProcess engine(directory_.path(), kTp);
  engine.wait_ready();
  NativeSender sender = this->sender(engine);
  Status second;
  const auto try_another = [&](std::uint32_t bucket) {
    if (bucket == 1) second = NativeSender(engine.url(), kTp, parameters_).send({.seed = 2, .version = "v2"});
    return Status::success();
  };
  EXPECT_OK(sender.send({.seed = 1, .version = "v1", .before_offer = try_another}));
  EXPECT_THAT(second, Is(StatusCode::failed_precondition, HasSubstr("another update is running")));
  expect_serves(engine, "v1", 1);
}

TEST_F(Engine, ASenderThatHasGoneBeforeTheWorkersCameDoesNotHoldIt) {
  const EngineProcess engine(directory_.path(), kTp);
  engine.wait_ready();
  json handles;
  const Result<std::string> boot_id = read_boot_id();
  ASSERT_OK(boot_id);
  for (int rank = 0; rank < kTp; ++rank) handles[fmt::format("HOST-{}-{}", *boot_id, rank)] = "ipc://" + (directory_ / "nobody");
  const TimePoint begin = Clock::real().now();
  const HttpAnswer answer = engine.call("POST", "/update_weights_from_ipc", json({{"zmq_handles", handles}}).dump());
  EXPECT_LT(Clock::real().now() - begin, 10s);
  EXPECT_EQ(answer.status, 400);
  EXPECT_THAT(answer.body["message"].get<std::string>(), HasSubstr("has gone"));
  ASSERT_OK(sender(engine).send({.seed = 1, .version = "v1"}));
  expect_serves(engine, "v1", 1);
}

TEST_F(Engine, InPlaceAFailedUpdateLeavesItTorn) {
  const EngineProcess engine(directory_.path(), kTp, {"--in-place"});
  engine.wait_ready();
  NativeSender sender = this->sender(engine);
  ASSERT_OK(sender.send({.seed = 1, .version = "v1"}));
  expect_serves(engine, "v1", 1);
  const Status give_up(StatusCode::cancelled, Scope::operation, "the sender gives up");
  EXPECT_FALSE(
      sender.send({.seed = 2, .version = "v2", .before_offer = [&](std::uint32_t bucket) { return bucket == 1 ? give_up : Status::success(); }})
          .ok());
  EXPECT_EQ(engine.weights(), json::parse(R"({"version":null,"state":"torn","tp":2,"workers":[{"rank":0,"tensors":[]},{"rank":1,"tensors":[]}]})"));
  ASSERT_OK(sender.send({.seed = 2, .version = "v2"}));
  expect_serves(engine, "v2", 2);
}

TEST_F(Engine, EndsInGoodOrderAlsoInTheMiddleOfAnUpdate) {
  const std::string socket = directory_ / "engine.sock";
  const std::string port_file = directory_ / "port";
  EngineProcess engine(directory_.path(), kTp, {"--uds", socket, "--port-file", port_file});
  engine.wait_ready();
  EXPECT_TRUE(std::filesystem::exists(socket));
  int written = 0;
  std::ifstream(port_file) >> written;
  EXPECT_EQ(written, engine.port());
  const std::vector<pid_t> workers = engine.workers();
  ASSERT_EQ(workers.size(), 2u);
  const auto terminate = [&](std::uint32_t bucket) {
    if (bucket == 1) engine.send_signal(SIGTERM);
    return Status::success();
  };
  EXPECT_FALSE(sender(engine).send({.before_offer = terminate}).ok());
  const ExitStatus exit = engine.wait_exit(5s);
  EXPECT_TRUE(exit.ok()) << exit.to_string();
  for (const pid_t worker : workers) EXPECT_FALSE(alive(worker));
  EXPECT_FALSE(std::filesystem::exists(socket));
  EXPECT_FALSE(std::filesystem::exists(port_file));
}

TEST_F(Engine, AStoppedWorkerOrAClientThatDripsDoesNotHoldItUp) {
  EngineProcess engine(directory_.path(), kTp);
  engine.wait_ready();
  const std::vector<pid_t> workers = engine.workers();
  ::kill(workers.at(0), SIGSTOP);
  httplib::Client idle("127.0.0.1", engine.port());
  idle.set_keep_alive(true);
  EXPECT_TRUE(idle.Get("/weights"));
  AbortSignal stop;
  std::thread dripping([&] {
    Result<Socket> socket = Socket::connect_tcp("127.0.0.1", static_cast<std::uint16_t>(engine.port()), Deadline::after(10s), stop);
    const Bytes byte = to_bytes("G");
    while (socket.ok() && socket->send_all(byte, Deadline::after(10s), stop).ok() && pause_for(50ms, stop).ok()) {
    }
  });
  engine.send_signal(SIGINT);
  const ExitStatus exit = engine.wait_exit(5s);
  stop.trigger({StatusCode::cancelled, Scope::operation, "the test ends"});
  dripping.join();
  EXPECT_TRUE(exit.ok()) << exit.to_string();
  for (const pid_t worker : workers) EXPECT_FALSE(alive(worker));
}

TEST_F(Engine, WorkersDieWithTheFront) {
  EngineProcess engine(directory_.path(), kTp);
  engine.wait_ready();
  const std::vector<pid_t> workers = engine.workers();
  ::kill(workers.at(1), SIGSTOP);
  engine.send_signal(SIGKILL);
  engine.wait_exit();
  for (const pid_t worker : workers) EngineProcess::wait_until([&] { return !alive(worker); });
}

TEST_F(Engine, GuardsItsRoutesAndRefusesStrangeBodies) {
  const EngineProcess engine(directory_.path(), kTp, {"--api-key", "secret"});
  engine.wait_ready();
  for (const char* path : {"/ping", "/health"}) EXPECT_EQ(engine.call("GET", path).status, 200);
  for (const char* key : {"", "Secret", "secre", "secrets"}) EXPECT_EQ(engine.call("GET", "/weights", "", key).status, 401) << key;
  EXPECT_EQ(engine.call("GET", "/weights", "", "secret").status, 200);
  EXPECT_EQ(engine.call("POST", "/update_weights_from_ipc", "{}").status, 401);
  EXPECT_EQ(engine.call("POST", "/update_weights_from_ipc", "{", "secret").status, 400);
  EXPECT_EQ(engine.call("POST", "/update_weights_from_ipc", R"({"zmq_handles":{"GPU-1":"x"}})", "secret").body["success"], false);
  EXPECT_EQ(engine.call("POST", "/collective_rpc", R"({"method":"reload"})", "secret").status, 400);
  EXPECT_EQ(engine.call("POST", "/update_weights_from_ckpt_engine", "{}", "secret").status, 501);
  EXPECT_EQ(engine.call("GET", "/nowhere", "", "secret").status, 404);
  EXPECT_EQ(engine.call("POST", "/update_weights_from_ipc", std::string(2 << 20, ' '), "secret").status, 413);
  EXPECT_EQ(engine.weights().size(), 1u);  // {"error": …}: no key given
}

TEST_F(Engine, RefusesAtStartWhatCannotWork) {
  const auto exit_code = [](const std::string& model, int tp, const std::vector<std::string>& arguments = {}) {
    EngineProcess engine(model, tp, arguments);
    EXPECT_EQ(engine.port(), 0);
    return engine.wait_exit().code;
  };
  EXPECT_EQ(exit_code(directory_ / "nowhere", 1), info(StatusCode::not_found).exit_code);
  EXPECT_EQ(exit_code(directory_.path(), 7), info(StatusCode::invalid_argument).exit_code);
  EXPECT_EQ(exit_code(directory_.path(), 1, {"--load-format", "ckpt_engine"}), info(StatusCode::unsupported).exit_code);
  const EngineProcess first(directory_.path(), 1);
  EXPECT_EQ(exit_code(directory_.path(), 1, {"--port", std::to_string(first.port())}), info(StatusCode::failed_precondition).exit_code);

  const TemporaryDirectory large;  // a header that promises more than this machine has, in a file of holes
  const std::uint64_t bytes = 2 * total_memory();
  std::filesystem::copy(directory_ / "config.json", large / "config.json");
  std::string head = fmt::format(R"({{"w":{{"dtype":"U8","shape":[{0}],"data_offsets":[0,{0}]}}}})", bytes);
  head.resize(align_up(head.size(), 8), ' ');
  const std::uint64_t size = head.size();
  std::ofstream(large / "model.safetensors", std::ios::binary).write(reinterpret_cast<const char*>(&size), 8) << head;
  std::filesystem::resize_file(large / "model.safetensors", 8 + head.size() + bytes);
  EXPECT_EQ(exit_code(large.path(), 1), info(StatusCode::resource_exhausted).exit_code);
}

#if defined(CKPT_FAULT_POINTS)

#if defined(CKPT_SANITIZED)
constexpr int kStride = 11;  // every call in a plain debug build; a sample where each start takes seconds
#else
constexpr int kStride = 1;
#endif

// The nth call of a system interface fails once, for n = 1, 2, … until nothing is left to fail: through the start and a whole update. The engine does
// not start, and says so; or the update ends well or with an error, what is served fits its outcome, and the next update succeeds.
class EngineFaults : public Engine {
 protected:
  void fail_each_call_once(const std::vector<std::string>& environment) {
    bool struck = true;
    for (int nth = 1; nth < 300 && struck; nth += kStride) {
      const TemporaryDirectory once;
      std::vector<std::string> variables = environment;
      variables.push_back(fmt::format("CKPT_FAULT=*:{}:once={};error", nth, once / "struck"));
      EngineProcess engine(directory_.path(), kTp, {}, variables);
      if (engine.port() == 0) {
        EXPECT_GT(engine.wait_exit().code, 0) << nth;
        continue;
      }
      engine.wait_ready();
      NativeSender sender = this->sender(engine);
      const Status first = sender.send({.seed = 1, .version = "v1"});
      struck = std::filesystem::exists(once / "struck");
      EXPECT_EQ(engine.weights()["version"], first.ok() ? json("v1") : json(nullptr)) << nth << ": " << first.to_string();
      if (struck) {
        engine.wait_ready();
        EXPECT_OK(sender.send({.seed = 2, .version = "v2"})) << nth;
        expect_serves(engine, "v2", 2);
      }
      const std::vector<pid_t> workers = engine.workers();
      engine.send_signal(SIGTERM);
      EXPECT_TRUE(engine.wait_exit(5s).ok()) << nth;
      for (const pid_t worker : workers) EXPECT_FALSE(alive(worker)) << nth;
    }
    EXPECT_FALSE(struck);
  }
};

TEST_F(EngineFaults, WhicheverCallOfTheFrontFails) { fail_each_call_once({}); }
TEST_F(EngineFaults, WhicheverCallOfAWorkerFails) { fail_each_call_once({"CKPT_FAULT_RANK=1"}); }

#endif  // CKPT_FAULT_POINTS

}  // namespace
}  // namespace ckpt::testing
