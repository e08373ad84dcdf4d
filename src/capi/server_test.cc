#include "capi/server.h"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

namespace ckpt {
namespace {

constexpr std::uint32_t kTimeoutMs = 30'000;
constexpr const char* kSettings = R"({"device": "host"})";

/// What a call said: its code and the error's text.
struct Said {
  StatusCode code = StatusCode::ok;
  std::string text = {};
};

template <typename Function, typename... Args>
Said said(Function function, Args... args) {
  ckpt_error* error = nullptr;
  Said result{static_cast<StatusCode>(function(args..., &error))};
  if (error != nullptr) result.text = ckpt_error_text(error);
  ckpt_error_free(error);
  return result;
}

class CapiServer : public ::testing::Test {
 protected:
  CapiServer() { EXPECT_EQ(said(ckpt_server_create, kSettings, &server_).code, StatusCode::ok); }
  ~CapiServer() override {
    ckpt_operation_free(operation_);
    ckpt_server_free(server_);
  }

  template <typename Function, typename... Args>
  Said start(Function function, Args... args) {
    ckpt_operation_free(operation_);
    operation_ = nullptr;
    return said(function, server_, args..., kTimeoutMs, &operation_);
  }
  Said end() {
    while (ckpt_operation_wait(operation_, 100) != CKPT_DONE) {
    }
    return said(ckpt_operation_result, operation_, &text_);
  }
  template <typename Function, typename... Args>
  Said run(Function function, Args... args) {
    const Said started = start(function, args...);
    return started.code == StatusCode::ok ? end() : started;
  }
  Said register_tensors(const char* name, std::vector<ckpt_tensor> tensors) {
    ckpt_source source{};
    source.tensors = tensors.data();
    source.num_tensors = static_cast<std::uint32_t>(tensors.size());
    return run(ckpt_server_register_start, name, &source, "{}");
  }
  [[nodiscard]] std::vector<ckpt_tensor> two_tensors() const {
    return {{"a", "F32", a_shape_.data(), 2, 0, a_.data(), sizeof a_}, {"b", "I64", nullptr, 0, 0, &b_, sizeof b_}};
  }

  /// Of two tensors that this rank alone holds.
  void start_update_that_asks() {
    ASSERT_EQ(run(ckpt_server_join_start, nullptr).code, StatusCode::ok);
    ASSERT_EQ(register_tensors("x", two_tensors()).code, StatusCode::ok);
    ASSERT_EQ(run(ckpt_server_gather_metas_start, "x").code, StatusCode::ok);
    ASSERT_EQ(start(ckpt_server_update_start, "x", "{}").code, StatusCode::ok);
    ASSERT_EQ(ckpt_operation_wait(operation_, kTimeoutMs), CKPT_CALL_ENGINES);
  }

  const std::array<float, 6> a_{1, 2, 3, 4, 5, 6};
  const std::array<std::uint64_t, 2> a_shape_{2, 3};
  const std::int64_t b_ = 7;
  ckpt_server* server_ = nullptr;
  ckpt_operation* operation_ = nullptr;
  const char* text_ = "";
};

TEST_F(CapiServer, AProcessAloneIsARank) {
  ASSERT_EQ(run(ckpt_server_join_start, R"({"rank": 0, "world_size": 1})").code, StatusCode::ok);
  const nlohmann::json joined = nlohmann::json::parse(text_);
  EXPECT_EQ(joined["world_size"], 1);
  EXPECT_EQ(joined["device"], "host");
  EXPECT_EQ(joined["device_key"].get<std::string>().substr(0, 5), "HOST-");
  EXPECT_EQ(run(ckpt_server_barrier_start, "all").code, StatusCode::ok);
  EXPECT_EQ(run(ckpt_server_join_start, nullptr).code, StatusCode::failed_precondition);
  EXPECT_EQ(run(ckpt_server_leave_start).code, StatusCode::ok);
}

TEST_F(CapiServer, TensorsBecomeMetas) {
  ASSERT_EQ(run(ckpt_server_join_start, nullptr).code, StatusCode::ok);
  ASSERT_EQ(register_tensors("x", two_tensors()).code, StatusCode::ok);
  const char* metas = nullptr;
  EXPECT_EQ(said(ckpt_server_metas, server_, "x", &metas).code, StatusCode::failed_precondition);
  ASSERT_EQ(run(ckpt_server_gather_metas_start, "x").code, StatusCode::ok);
  ASSERT_EQ(said(ckpt_server_metas, server_, "x", &metas).code, StatusCode::ok);
  EXPECT_NE(std::string(metas).find("\"a\""), std::string::npos);
  EXPECT_EQ(said(ckpt_server_unregister, server_, "x", 1).code, StatusCode::ok);
  EXPECT_EQ(said(ckpt_server_unregister, server_, "x", 1).code, StatusCode::not_found);
}

TEST_F(CapiServer, ANameTwiceLeavesTheFirstWhole) {
  ASSERT_EQ(run(ckpt_server_join_start, nullptr).code, StatusCode::ok);
  ASSERT_EQ(register_tensors("x", two_tensors()).code, StatusCode::ok);
  EXPECT_EQ(register_tensors("x", two_tensors()).code, StatusCode::already_exists);
  EXPECT_EQ(run(ckpt_server_gather_metas_start, "x").code, StatusCode::ok);
}

TEST_F(CapiServer, WhatDoesNotFitIsRefusedBeforeAnythingStarts) {
  ASSERT_EQ(run(ckpt_server_join_start, nullptr).code, StatusCode::ok);
  std::vector<ckpt_tensor> tensors = two_tensors();
  tensors[0].dtype = "F33";
  EXPECT_NE(register_tensors("x", tensors).text.find("F33 is no dtype"), std::string::npos);
  tensors[0].dtype = "F64";
  EXPECT_NE(register_tensors("x", tensors).text.find("tensor a: 24 bytes were given"), std::string::npos);
  EXPECT_NE(run(ckpt_server_update_start, "x", R"({"endpoint": "http://localhost"})").text.find("knows no \"endpoint\""), std::string::npos);
  EXPECT_NE(run(ckpt_server_update_start, "x", R"({"inference_parallel_size": "two"})").text.find("a whole number"), std::string::npos);
  EXPECT_EQ(run(ckpt_server_update_start, "x", "{}").code, StatusCode::not_found);
  EXPECT_EQ(run(ckpt_server_gather_metas_start, "x").code, StatusCode::not_found);
}

TEST_F(CapiServer, BeforeItJoinsItIsNoRank) { EXPECT_NE(run(ckpt_server_gather_metas_start, "x").text.find("no rank yet"), std::string::npos); }

TEST_F(CapiServer, SettingsThatDoNotFitAreNamed) {
  ckpt_server* server = nullptr;
  EXPECT_NE(said(ckpt_server_create, R"({"bucket_sise": "1GiB"})", &server).text.find("bucket_sise"), std::string::npos);
  EXPECT_NE(said(ckpt_server_create, R"({"num_slots": "many"})", &server).text.find("many"), std::string::npos);
  EXPECT_NE(said(ckpt_server_create, "[]", &server).text.find("no JSON object"), std::string::npos);
  EXPECT_EQ(server, nullptr);
}

/// The caller makes the engines' call: told once, with every rank's address; its failure is the update's.
TEST_F(CapiServer, AnUpdateAsksTheCallerToCallTheEngines) {
  start_update_that_asks();
  const nlohmann::json addresses = nlohmann::json::parse(ckpt_operation_addresses(operation_));
  ASSERT_EQ(addresses.size(), 1u);
  EXPECT_EQ(addresses[0][1].get<std::string>().substr(0, 6), "ipc://");
  EXPECT_EQ(ckpt_operation_wait(operation_, 10), CKPT_RUNNING);
  ckpt_operation_engines_replied(operation_, "HTTP 404");
  const Said ended = end();
  EXPECT_EQ(ended.code, StatusCode::remote_error);
  EXPECT_NE(ended.text.find("HTTP 404"), std::string::npos);
}

TEST_F(CapiServer, AskingForTheResultTooEarlyLosesNothing) {
  ASSERT_EQ(run(ckpt_server_join_start, nullptr).code, StatusCode::ok);
  ASSERT_EQ(register_tensors("x", two_tensors()).code, StatusCode::ok);
  ASSERT_EQ(run(ckpt_server_gather_metas_start, "x").code, StatusCode::ok);
  ASSERT_EQ(start(ckpt_server_update_start, "x", "{}").code, StatusCode::ok);
  while (*ckpt_operation_addresses(operation_) == '\0') std::this_thread::yield();
  EXPECT_EQ(said(ckpt_operation_result, operation_, &text_).code, StatusCode::failed_precondition);
  EXPECT_EQ(ckpt_operation_wait(operation_, kTimeoutMs), CKPT_CALL_ENGINES) << "not told by the question above";
}

TEST_F(CapiServer, WhoGivesUpEndsTheUpdate) {
  start_update_that_asks();
  ckpt_operation_cancel(operation_, "Ctrl-C");
  EXPECT_EQ(end().code, StatusCode::cancelled);
  ASSERT_EQ(start(ckpt_server_update_start, "x", "{}").code, StatusCode::ok);
  EXPECT_EQ(ckpt_operation_wait(operation_, kTimeoutMs), CKPT_CALL_ENGINES) << "the next update works";
}

}  // namespace
}  // namespace ckpt
