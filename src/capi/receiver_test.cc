// The worker of an engine through the C interface, against our own sender and a scripted one of pickles.
#define XXH_INLINE_ALL
#include "capi/receiver.h"

#include <xxhash.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/bytes.h"
#include "channel/bucket_session.h"
#include "channel/pickle_writer.h"
#include "device/host/host_device.h"
#include "support/matchers.h"
#include "support/temporary_directory.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using testing::Is;
using testing::soon;
using testing::TemporaryDirectory;

static_assert(static_cast<int>(WorkerEvent::handle) == CKPT_EVENT_HANDLE && static_cast<int>(WorkerEvent::bucket) == CKPT_EVENT_BUCKET &&
              static_cast<int>(WorkerEvent::release) == CKPT_EVENT_RELEASE && static_cast<int>(WorkerEvent::finish) == CKPT_EVENT_FINISH &&
              static_cast<int>(WorkerEvent::end) == CKPT_EVENT_END && static_cast<int>(WorkerEvent::none) == CKPT_EVENT_NONE);

/// An engine's worker that keeps what it gets.
struct Worker {
  std::map<std::string, std::string> tensors;
  std::vector<std::uint64_t> layouts;
  std::string handle_json;
  std::string cuda_handle;
  std::string fail_with;  // the answer to the first bucket
  std::int32_t code = -1;
  std::string error_text;

  void run(const std::string& address) {
    ckpt_receiver* receiver = nullptr;
    ckpt_error* error = nullptr;
    code = ckpt_receiver_open(address.c_str(), R"({"heartbeat_interval": "200ms"})", &receiver, &error);
    ckpt_event event{};
    while (code == 0 && event.kind != CKPT_EVENT_END) {
      code = ckpt_receiver_next(receiver, 100, &event, &error);
      if (code != 0 || event.kind == CKPT_EVENT_NONE || event.kind == CKPT_EVENT_END) continue;
      const bool fails = event.kind == CKPT_EVENT_BUCKET && !fail_with.empty();
      if (event.kind == CKPT_EVENT_HANDLE) take_handle(event);
      if (event.kind == CKPT_EVENT_BUCKET && buffer_ != nullptr) take_bucket(event);
      code = ckpt_receiver_answer(receiver, fails ? fail_with.c_str() : nullptr, &error);
    }
    if (error != nullptr) error_text = ckpt_error_text(error);
    ckpt_error_free(error);
    ckpt_receiver_close(receiver);
  }

 private:
  void take_handle(const ckpt_event& event) {
    buffer_ = static_cast<const char*>(event.host_buffer);
    EXPECT_EQ(event.host_fd >= 0, buffer_ != nullptr);
    if (event.cuda_handle_json != nullptr) handle_json = event.cuda_handle_json;
    if (event.cuda_ipc_handle != nullptr) cuda_handle.assign(static_cast<const char*>(event.cuda_ipc_handle), event.cuda_ipc_handle_bytes);
  }
  void take_bucket(const ckpt_event& event) {
    const char* name = event.names;
    for (std::uint32_t i = 0; i < event.num_tensors; ++i) {
      tensors[name] = std::string(buffer_ + event.tensors[i].offset_bytes, event.tensors[i].bytes);
      name += std::strlen(name) + 1;
    }
    EXPECT_EQ(name, event.names + event.names_bytes);
    layouts.push_back(event.layout);
  }
  const char* buffer_ = nullptr;
};

class CapiReceiver : public ::testing::Test {
 protected:
  void SetUp() override {
    device_ = make_host_device({0, 1}).value();
    buffer_ = device_->allocate(64 * KiB).value();
    for (std::size_t i = 0; i < 64 * KiB; ++i) buffer_->data()[i] = static_cast<std::byte>(i * 7 / 3);
    sender_ = open_session({dir_ / "sockets", dir_ / "journal", "HOST-x-0"}, never_).value();
  }
  void start() {
    thread_ = std::thread([this] { worker_.run(sender_->address()); });
  }
  std::string text_at(std::uint64_t offset, std::uint64_t bytes) const { return {reinterpret_cast<const char*>(buffer_->data()) + offset, bytes}; }
  std::string bucket(std::uint32_t index, std::uint64_t b_offset, std::span<const UnitCheck> checks = {}) const {
    const PlacedTensor placed[] = {{&a_, 0}, {&b_, b_offset}};
    return encode_bucket(Dialect::native, index, placed, checks);
  }

  TemporaryDirectory dir_;
  AbortSignal never_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<DeviceBuffer> buffer_;
  std::unique_ptr<BucketSession> sender_;
  Worker worker_;
  std::thread thread_;
  Parameter a_{"a", DType::BF16, {10, 10}, 200};
  Parameter b_{"b", DType::U8, {1000}, 1000};
};

TEST_F(CapiReceiver, GivesOutBucketsOfHostMemory) {
  start();
  ASSERT_OK(sender_->connect(buffer_->exported(), soon()));
  ASSERT_OK(sender_->offer(0, bucket(0, 4096), soon()));
  ASSERT_OK(sender_->offer(1, bucket(1, 4096), soon()));
  ASSERT_OK(sender_->offer(2, bucket(2, 8192), soon()));
  ASSERT_OK(sender_->release(soon()));
  ASSERT_OK(sender_->finish(soon()));
  thread_.join();
  EXPECT_EQ(worker_.code, 0) << worker_.error_text;
  EXPECT_EQ(worker_.tensors["a"], text_at(0, 200));
  EXPECT_EQ(worker_.tensors["b"], text_at(8192, 1000));
  ASSERT_EQ(worker_.layouts.size(), 3u);
  EXPECT_EQ(worker_.layouts[0], worker_.layouts[1]);
  EXPECT_NE(worker_.layouts[0], worker_.layouts[2]);
}

TEST_F(CapiReceiver, ChecksDigestsBeforeAnythingIsGivenOut) {
  start();
  ASSERT_OK(sender_->connect(buffer_->exported(), soon()));
  UnitCheck check{{{0, 200}}, XXH3_64bits(buffer_->data(), 200), 3};
  ASSERT_OK(sender_->offer(0, bucket(0, 4096, std::span(&check, 1)), soon()));
  ++check.xxh3;
  EXPECT_THAT(sender_->offer(1, bucket(1, 4096, std::span(&check, 1)), soon()), Is(StatusCode::remote_error, HasSubstr("the bytes of rank 3")));
  sender_.reset();
  thread_.join();
  EXPECT_EQ(worker_.layouts.size(), 1u);
  EXPECT_THAT(worker_.error_text, HasSubstr("the bytes of rank 3"));
}

TEST_F(CapiReceiver, AFailureIsHeardByTheSenderInItsWords) {
  worker_.fail_with = "ValueError: no such weight";
  start();
  ASSERT_OK(sender_->connect(buffer_->exported(), soon()));
  EXPECT_THAT(sender_->offer(0, bucket(0, 4096), soon()), Is(StatusCode::remote_error, HasSubstr("bucket 0: the worker answered: ValueError: no")));
  sender_.reset();
  thread_.join();
  EXPECT_THAT(worker_.error_text, HasSubstr("ValueError: no such weight"));
}

TEST_F(CapiReceiver, GivesOutTheHandleOfAGpu) {
  start();
  ASSERT_OK(sender_->connect({std::string(64, 'h'), -1, 4096}, soon()));
  ASSERT_OK(sender_->release(soon()));
  ASSERT_OK(sender_->finish(soon()));
  thread_.join();
  EXPECT_EQ(worker_.code, 0) << worker_.error_text;
  EXPECT_EQ(worker_.cuda_handle, std::string(64, 'h'));
  const nlohmann::json handle = nlohmann::json::parse(worker_.handle_json);
  EXPECT_EQ(handle["storage_size_bytes"], 4096);
  EXPECT_EQ(handle["tensor_size"], nlohmann::json::array({4096}));
  EXPECT_EQ(handle["event_sync_required"], false);
}

TEST_F(CapiReceiver, ServesSendersOfPickles) {
  const std::string address = "ipc://" + dir_ / "reference";
  const auto sender = ZmqSocket::open(ZmqSocket::Role::request_and_bind, address, {}).value();
  std::thread worker([&] { worker_.run(address); });
  ASSERT_OK(sender->wait_for_peer(soon(), never_));
  const PlacedTensor placed[] = {{&a_, 0}};
  for (const std::string& message : {pickle_handle(std::string(64, 'h'), 4096), pickle_bucket(placed), pickle_none(), pickle_none()}) {
    ASSERT_OK(sender->send(message, soon(), never_, "message"));
    const Result<std::string> answer = sender->receive(1 << 20, soon(), never_, "answer");
    ASSERT_OK(answer);
    EXPECT_EQ(*answer, "");
  }
  worker.join();
  EXPECT_EQ(worker_.code, 0) << worker_.error_text;
  EXPECT_EQ(worker_.cuda_handle, std::string(64, 'h'));
}

TEST(CapiReceiverOpen, RefusesSettingsThatAreNone) {
  ckpt_receiver* receiver = nullptr;
  EXPECT_EQ(ckpt_receiver_open("ipc:///nobody", "[]", &receiver, nullptr), static_cast<std::int32_t>(StatusCode::invalid_argument));
  EXPECT_EQ(ckpt_receiver_open("ipc:///nobody", R"({"no_such_option": 1})", &receiver, nullptr), static_cast<std::int32_t>(StatusCode::not_found));
  EXPECT_EQ(receiver, nullptr);
}

TEST(CapiDtype, NamesAreThoseOfSafetensors) {
  EXPECT_STREQ(ckpt_dtype_name(static_cast<std::uint32_t>(DType::BF16)), "BF16");
  EXPECT_EQ(ckpt_dtype_name(kNumDTypes), nullptr);
}

}  // namespace
}  // namespace ckpt
