// What clients send and see: handle maps, request bodies, the view of the weights, metrics.
#include <nlohmann/json.hpp>

#include "holder/handle_map.h"
#include "holder/metrics.h"
#include "holder/update_call.h"
#include "holder/weights_view.h"
#include "support/matchers.h"

namespace ckpt {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Is;
using ::testing::Not;

constexpr const char* kBoot = "0f-1a";

TEST(HandleMap, WorkersTakeTheEntriesInTheOrderOfTheirRanks) {
  const auto addresses = addresses_of_workers({{"HOST-0f-1a-10", "ten"}, {"HOST-0f-1a-9", "nine"}, {"HOST-0f-1a-0", "zero"}}, 3, kBoot);
  ASSERT_OK(addresses);
  EXPECT_THAT(*addresses, ElementsAre("zero", "nine", "ten"));
}

TEST(HandleMap, RefusesWhatTheWorkersCannotUse) {
  EXPECT_THAT(addresses_of_workers({{"HOST-0f-1a-0", "a"}}, 2, kBoot),
              Is(StatusCode::invalid_argument, AllOf(HasSubstr("1 entries for 2 workers"), HasSubstr("--tp"))));
  EXPECT_THAT(addresses_of_workers({{"HOST-0f-1a-0", "a"}, {"HOST-0f-1a-1", "a"}}, 1, kBoot),
              Is(StatusCode::invalid_argument, HasSubstr("2 entries")));
  EXPECT_THAT(addresses_of_workers({{"HOST-0f-1a-0", "a"}, {"HOST-0f-1a-00", "b"}}, 2, kBoot), Is(StatusCode::invalid_argument, HasSubstr("twice")));
  const auto gpus = addresses_of_workers({{"GPU-e5", "second"}, {"GPU-07", "first"}, {"MIG-0", "third"}}, 3, kBoot);
  ASSERT_OK(gpus);
  EXPECT_EQ(*gpus, (std::vector<std::string>{"first", "second", "third"}));
  EXPECT_THAT(addresses_of_workers({{"GPU-e5", "a"}}, 2, kBoot), Is(StatusCode::invalid_argument, HasSubstr("1 entries for 2 workers")));
  EXPECT_THAT(addresses_of_workers({{"GPU-e5", "a"}, {"HOST-0f-1a-0", "b"}}, 2, kBoot), Is(StatusCode::invalid_argument, HasSubstr("a GPU among")));
  EXPECT_THAT(addresses_of_workers({{"NPU-1", "a"}}, 1, kBoot), Is(StatusCode::invalid_argument, HasSubstr("neither HOST-")));
  EXPECT_THAT(addresses_of_workers({{"HOST-other-0", "a"}}, 1, kBoot), Is(StatusCode::invalid_argument, HasSubstr("another host")));
  for (const char* key : {"HOST-", "HOST-1", "HOST--1", "HOST-0f-1a-", "HOST-0f-1a-x", "HOST-0f-1a-1x", "HOST-0f-1a-99999999999999999999", ""})
    EXPECT_THAT(addresses_of_workers({{key, "a"}}, 1, kBoot), Is(StatusCode::invalid_argument)) << key;
  EXPECT_OK(read_boot_id());
}

TEST(UpdateCall, ReadsBothBodies) {
  const auto update = read_update_body(R"({"zmq_handles":{"k":"ipc:///x"},"flush_cache":true,"weight_version":"v1","torch_empty_cache":false})");
  ASSERT_OK(update);
  EXPECT_EQ(update->handles.at("k"), "ipc:///x");
  EXPECT_EQ(update->weight_version, "v1");
  EXPECT_EQ(read_update_body(R"({"zmq_handles":{},"weight_version":null})")->weight_version, "");
  const auto rpc =
      read_collective_rpc_body(R"({"method":"update_weights_from_ipc","args":[{"k":"a"}],"kwargs":{"weight_version":"v2"},"timeout":300.0})");
  ASSERT_OK(rpc);
  EXPECT_EQ(rpc->handles.at("k"), "a");
  EXPECT_EQ(rpc->weight_version, "v2");
}

TEST(UpdateCall, RefusesBodiesThatMeanSomethingElse) {
  for (const std::string& body : {std::string(""), std::string("["), std::string("[]"), std::string("{}"), std::string(R"({"zmq_handles":[]})"),
                                  std::string(R"({"zmq_handles":{"k":1}})"), std::string(R"({"zmq_handles":{},"weight_version":3})"),
                                  R"({"zmq_handles":{},"weight_version":")" + std::string(300, 'v') + "\"}"})
    EXPECT_THAT(read_update_body(body), Is(StatusCode::invalid_argument)) << body;
  for (const char* body : {"{}", R"({"method":1})", R"({"method":"sleep","args":[]})", R"({"method":"update_weights_from_ipc"})",
                           R"({"method":"update_weights_from_ipc","args":[]})", R"({"method":"update_weights_from_ipc","args":[{},{}]})",
                           R"({"method":"update_weights_from_ipc","args":["x"]})"})
    EXPECT_THAT(read_collective_rpc_body(body), Is(StatusCode::invalid_argument)) << body;
}

TEST(WeightsView, IsTheDocumentOfTheReference) {
  HolderModel model{{2, 2, 0, 0},
                    {{"m.\"q\"_proj.weight", DType::BF16, {2}, 4}, {"m.q_proj.weight", DType::F32, {4, 3}, 48}, {"s", DType::I64, {}, 8}}};
  std::vector<WorkerLayout> layouts{*make_worker_layout(model, 2, 0), *make_worker_layout(model, 2, 1)};
  const std::vector<std::vector<std::uint64_t>> digests{{1, 2, 3}, {4, 0x0123456789abcdef, 6}};
  WeightsView view{"v\"1", HolderState::serving, 2, std::make_shared<const std::string>(workers_json(model, layouts, digests))};
  const json document = json::parse(view.to_json());
  EXPECT_EQ(document["version"], "v\"1");
  EXPECT_EQ(document["state"], "serving");
  EXPECT_EQ(document["tp"], 2);
  EXPECT_EQ(document["workers"].size(), 2u);
  EXPECT_EQ(document["workers"][1]["rank"], 1);
  EXPECT_EQ(document["workers"][1]["tensors"][1],
            json::parse(R"({"name":"m.q_proj.weight","dtype":"F32","shape":[2,3],"bytes":24,"xxh3":"0123456789abcdef"})"));
  EXPECT_EQ(document["workers"][0]["tensors"][2]["shape"], json::array());
  const WeightsView empty{std::nullopt, HolderState::empty, 2, std::make_shared<const std::string>(workers_json(model, layouts, {}))};
  EXPECT_EQ(json::parse(empty.to_json()),
            json::parse(R"({"version":null,"state":"empty","tp":2,"workers":[{"rank":0,"tensors":[]},{"rank":1,"tensors":[]}]})"));
}

TEST(HolderMetrics, CountsByOutcomeAndStageAndShowsOneVersion) {
  HolderMetrics metrics;
  metrics.update_ended("ok", 0.2);
  metrics.update_ended("unavailable", 0.1);
  metrics.update_ended("ok", 0.2);
  metrics.stage_ended("apply", 0.01);
  metrics.weights_received(123);
  metrics.show_weights("v1", "serving");
  metrics.show_weights("v2", "updating");
  const std::string text = metrics.text();
  EXPECT_THAT(text, AllOf(HasSubstr("ckpt_engine_updates_total{outcome=\"ok\"} 2"), HasSubstr("ckpt_engine_stage_seconds_count{stage=\"apply\"} 1"),
                          HasSubstr("ckpt_engine_received_bytes_total 123"), HasSubstr("version=\"v2\""), Not(HasSubstr("version=\"v1\""))));
}

}  // namespace
}  // namespace ckpt
