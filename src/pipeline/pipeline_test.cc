// The pipeline on one rank that holds and sends: real files, pool and device; sessions and other ranks are in tests/e2e and tests/fault.
#include <cstring>
#include <thread>

#include "base/bytes.h"
#include "base/fault_point.h"
#include "device/host/host_device.h"
#include "pipeline/blocking_queue.h"
#include "pipeline/update_pipeline.h"
#include "support/matchers.h"
#include "support/temporary_directory.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using testing::Is;
using testing::soon;
using testing::TemporaryDirectory;

TEST(BlockingQueue, ItemsComeInOrderAndTheErrorStays) {
  BlockingQueue<int> queue;
  queue.push(1);
  queue.push(2);
  EXPECT_EQ(*queue.pop(soon(), "x"), 1);
  std::thread other([&] { queue.fail(Status(StatusCode::cancelled, Scope::operation, "stop")); });
  other.join();
  EXPECT_THAT(queue.pop(soon(), "x"), Is(StatusCode::cancelled));
  EXPECT_THAT(queue.pop(soon(), "x"), Is(StatusCode::cancelled));
}

TEST(BlockingQueue, AnEmptyOneEndsAtTheDeadlineNamingWhatWasWaitedFor) {
  BlockingQueue<int> queue;
  EXPECT_THAT(queue.pop(Deadline::after(std::chrono::milliseconds(5)), "a free slot"), Is(StatusCode::deadline_exceeded, HasSubstr("a free slot")));
}

TEST(StageThread, RunsOneFunctionAfterTheOther) {
  StageThread thread;
  ASSERT_OK(thread.create());
  EXPECT_OK(thread.join());
  for (int i = 0; i < 3; ++i) {
    thread.start([i] { return i == 1 ? Status(StatusCode::internal, Scope::operation, "second") : Status::success(); });
    EXPECT_EQ(thread.join().code(), i == 1 ? StatusCode::internal : StatusCode::ok);
  }
}

class PipelineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string data;
    std::string json = "{";
    for (int i = 0; i < 40; ++i) {
      const std::size_t bytes = 1000 + static_cast<std::size_t>(i) * 731;
      json += fmt::format("{}\"t{:02}\":{{\"dtype\":\"U8\",\"shape\":[{}],\"data_offsets\":[{},{}]}}", i > 0 ? "," : "", i, bytes, data.size(),
                          data.size() + bytes);
      for (std::size_t k = 0; k < bytes; ++k) data += static_cast<char>(k * 7 + static_cast<std::size_t>(i));
    }
    json += "}";
    const std::uint64_t length = json.size();
    dir_.write("model.safetensors", std::string(reinterpret_cast<const char*>(&length), sizeof length) + json + data);
    checkpoint_ = open_checkpoint(dir_.path()).value();
    device_ = make_host_device({0, 1}).value();
    pool_ = make_host_pool(*device_);
    collective_ = solitary_collective();
    pipeline_ = UpdatePipeline::create(*device_).value();
    hold(checkpoint_, {64 * KiB, 16 * KiB});
  }
  /// Loads `checkpoint` and plans for it.
  void hold(const Checkpoint& checkpoint, const FrameOptions& frames) {
    auto layout = std::make_shared<CheckpointLayout>();
    layout->parameters = checkpoint.parameters;
    layout->frames = make_striped_layout(layout->parameters, 1, frames).value();
    plan_.layout = layout;
    plan_.topology = {1, 1, {"a"}, {false}};
    plan_.num_slots = 2;
    plan_.slot_bytes = layout->frames.frame_bytes;
    buckets_ = std::make_unique<BucketTable>(BucketTable::create(plan_, {}).value());
    share_ = pool_->load(checkpoint, *layout, 0, {}, soon(), abort_, nullptr).value();
    buffer_ = device_->allocate(plan_.buffer_bytes()).value();
  }
  Status run(TransferTotals& totals, Deadline deadline = soon()) {
    const Transfer transfer{&plan_, buckets_.get(), share_.get(), 0, buffer_.get(), collective_.get(), nullptr};
    pipeline_->begin(transfer, deadline, abort_, nullptr, totals);
    return pipeline_->end();
  }

  TemporaryDirectory dir_;
  Checkpoint checkpoint_;
  Plan plan_;
  std::unique_ptr<BucketTable> buckets_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<HostPool> pool_;
  std::unique_ptr<PoolShare> share_;
  std::unique_ptr<DeviceBuffer> buffer_;
  std::unique_ptr<Collective> collective_;
  std::unique_ptr<UpdatePipeline> pipeline_;
  AbortSignal abort_;
};

TEST_F(PipelineTest, FramesPassThroughTheSlotsAgainAndAgain) {
  ASSERT_GT(buckets_->size(), 4u);
  for (int round = 0; round < 3; ++round) {
    TransferTotals totals{};
    ASSERT_OK(run(totals));
    EXPECT_EQ(totals[static_cast<std::size_t>(Stage::fill)].bytes, checkpoint_.total_bytes());
    EXPECT_EQ(totals[static_cast<std::size_t>(Stage::exchange)].bytes, 0u);
  }
  // The last frame is still in its slot.
  const std::uint32_t last = buckets_->size() - 1;
  for (const PlacedTensor& tensor : buckets_->bucket(last).tensors)
    EXPECT_EQ(buffer_->data()[tensor.offset_bytes + 3], static_cast<std::byte>(3 * 7 + std::stoi(tensor.parameter->name.substr(1))));
}

TEST_F(PipelineTest, WhatWasBegunCanBeCancelledAndTheNextRunWorks) {
  TransferTotals totals{};
  const Transfer transfer{&plan_, buckets_.get(), share_.get(), 0, buffer_.get(), collective_.get(), nullptr};
  pipeline_->begin(transfer, soon(), abort_, nullptr, totals);
  pipeline_->cancel(Status(StatusCode::unavailable, Scope::peer, "no worker came"));
  pipeline_->cancel(Status(StatusCode::unavailable, Scope::peer, "nothing is left to cancel"));
  EXPECT_LE(totals[static_cast<std::size_t>(Stage::fill)].bytes, 2 * plan_.slot_bytes);
  collective_ = solitary_collective();
  totals = {};
  EXPECT_OK(run(totals));
}

/// A copy that went on would write where nothing is mapped any more.
TEST_F(PipelineTest, AfterACancelTheBufferMayEnd) {
  const TemporaryDirectory dir;
  const std::string json = R"({"large":{"dtype":"U8","shape":[33554432],"data_offsets":[0,33554432]}})";  // takes some milliseconds to copy
  const std::uint64_t length = json.size();
  dir.write("model.safetensors", std::string(reinterpret_cast<const char*>(&length), sizeof length) + json + std::string(32 * MiB, 'x'));
  hold(open_checkpoint(dir.path()).value(), {32 * MiB, 32 * MiB});
  for (int round = 0; round < 20; ++round) {
    TransferTotals totals{};
    const Transfer transfer{&plan_, buckets_.get(), share_.get(), 0, buffer_.get(), collective_.get(), nullptr};
    pipeline_->begin(transfer, soon(), abort_, nullptr, totals);
    if (round % 2 == 1) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    pipeline_->cancel(Status(StatusCode::unavailable, Scope::peer, "no worker came"));
    buffer_.reset();
    buffer_ = device_->allocate(plan_.buffer_bytes()).value();
    collective_ = solitary_collective();  // an aborted one is of no use
  }
}

TEST_F(PipelineTest, AnAbortBeforeTheStartEndsIt) {
  TransferTotals totals{};
  abort_.trigger(Status(StatusCode::unavailable, Scope::group, "rank 1 is gone"));
  EXPECT_THAT(run(totals), Is(StatusCode::unavailable, HasSubstr("rank 1 is gone")));
}

#if defined(CKPT_FAULT_POINTS)
TEST_F(PipelineTest, AFaultInAStageNamesStageAndFrameAndTheNextRunWorks) {
  for (const auto& [point, stage] : {std::pair{"fill.before_copy", "fill"}, std::pair{"exchange.before_start", "exchange"}}) {
    TransferTotals totals{};
    ASSERT_OK(set_fault_rules(fmt::format("{}:5:error", point)));
    EXPECT_THAT(run(totals), Is(StatusCode::internal, HasSubstr(fmt::format("{}: frame", stage)))) << point;
    ASSERT_OK(set_fault_rules(""));
    collective_ = solitary_collective();
    EXPECT_OK(run(totals));
  }
}

#endif

TEST_F(PipelineTest, DigestsOfUnitsThatThePlanDoesNotHaveAreRefused) {
  const std::vector<UnitDigest> beyond{{99, 0, 1}};
  const std::span<const UnitDigest> all[] = {beyond};
  EXPECT_THAT(BucketTable::create(plan_, all), Is(StatusCode::invalid_argument, HasSubstr("frame 99")));
}

}  // namespace
}  // namespace ckpt
