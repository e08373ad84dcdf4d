/// A sender as plain as can be: one slot of host memory a rank, tensor after tensor. For tests of the receiving side.
#pragma once

#include <barrier>
#include <cstring>
#include <functional>
#include <thread>

#include "base/bytes.h"
#include "base/thread_annotations.h"
#include "channel/bucket_session.h"
#include "channel/engine_driver.h"
#include "device/host/host_device.h"
#include "support/temporary_directory.h"
#include "support/tiny_checkpoint.h"

namespace ckpt::testing {

struct SendOptions {
  std::uint64_t seed = 1;
  std::string version = "v1";
  std::size_t tensors_a_bucket = 7;
  /// Runs on rank 0 before the bucket of that number is offered. Not ok: the sender gives up there.
  std::function<Status(std::uint32_t bucket)> before_offer = nullptr;
  std::function<void(std::vector<Parameter>&)> change_parameters = nullptr;
};

/// Sends `parameters` with the content of `seed` to the engine at `url` from `tp` ranks. The outcome is that of the engine's HTTP call, or the
/// sessions' where no call was made.
class NativeSender {
 public:
  NativeSender(std::string url, int tp, std::vector<Parameter> parameters) : url_(std::move(url)), tp_(tp), parameters_(std::move(parameters)) {}

  Status send(const SendOptions& options) {
    AbortSignal abort;
    std::vector<Parameter> parameters = parameters_;
    if (options.change_parameters) options.change_parameters(parameters);
    CKPT_ASSIGN_OR_RETURN(const std::unique_ptr<EngineDriver> driver, make_engine_driver({url_, "", EngineKind::ckpt, "", std::chrono::seconds(60)}));
    std::vector<Rank> ranks(static_cast<std::size_t>(tp_));
    UpdateRequest request;
    request.weight_version = options.version;
    for (int i = 0; i < tp_; ++i) {
      CKPT_RETURN_IF_ERROR(open(ranks[static_cast<std::size_t>(i)], i, parameters, abort));
      request.addresses[ranks[static_cast<std::size_t>(i)].device->key()] = ranks[static_cast<std::size_t>(i)].session->address();
      ranks[static_cast<std::size_t>(i)].session->engine_asked();
    }
    // A failed call ends the sessions, and a failed session the others, as in the product.
    const auto end_sessions = [&](const Status& reason) {
      const MutexLock lock(sessions_mutex_);
      for (Rank& rank : ranks)
        if (rank.session) rank.session->abort(reason);
    };
    CKPT_ASSIGN_OR_RETURN(const std::unique_ptr<EngineCall> call, driver->start_update(request, [&](const Status& reply) {
      if (!reply.ok()) end_sessions(reply);
    }));
    std::barrier<> in_step(tp_);
    std::vector<std::thread> threads;
    for (Rank& rank : ranks)
      threads.emplace_back([&] {
        rank.status = carry(rank, parameters, options, in_step);
        in_step.arrive_and_drop();
        if (!rank.status.ok()) end_sessions(rank.status);
      });
    for (std::thread& thread : threads) thread.join();
    for (Rank& rank : ranks) close(rank);  // tells a worker that still waits
    return call->wait(Deadline::after(std::chrono::seconds(60)), abort);
  }

 private:
  struct Rank {
    std::unique_ptr<Device> device;
    std::unique_ptr<DeviceBuffer> buffer;
    std::unique_ptr<BucketSession> session;
    bool first = false;
    Status status;
  };

  void close(Rank& rank) {
    std::unique_ptr<BucketSession> session;  // ends after the lock
    const MutexLock lock(sessions_mutex_);
    session = std::move(rank.session);
  }

  Status open(Rank& rank, int number, const std::vector<Parameter>& parameters, const AbortSignal& abort) {
    CKPT_ASSIGN_OR_RETURN(rank.device, make_host_device({number, 1}));
    std::uint64_t bytes = 256;
    for (const Parameter& parameter : parameters) bytes += align_up(parameter.bytes, kTensorAlignment);
    CKPT_ASSIGN_OR_RETURN(rank.buffer, rank.device->allocate(bytes));
    SessionOptions options;
    options.socket_dir = directory_.path();
    options.journal_dir = directory_.path();
    options.worker_key = rank.device->key();
    options.dialect = Dialect::native;
    options.ack_timeout = std::chrono::seconds(30);
    CKPT_ASSIGN_OR_RETURN(rank.session, open_session(options, abort));
    rank.first = number == 0;
    return Status::success();
  }

  /// The ranks offer bucket after bucket together: what `before_offer` does to a worker happens before any rank is further.
  static Status carry(Rank& rank, const std::vector<Parameter>& parameters, const SendOptions& options, std::barrier<>& in_step) {
    const Deadline deadline = Deadline::after(std::chrono::seconds(60));
    CKPT_RETURN_IF_ERROR(rank.session->connect(rank.buffer->exported(), deadline));
    std::uint64_t offset = 0;
    std::uint32_t bucket = 0;
    std::vector<PlacedTensor> placed;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const Bytes content = tiny_content(parameters[i], options.seed);
      if (!content.empty()) std::memcpy(rank.buffer->data() + offset, content.data(), content.size());
      placed.push_back({&parameters[i], offset});
      offset += align_up(content.size(), kTensorAlignment);
      if (placed.size() < options.tensors_a_bucket && i + 1 < parameters.size()) continue;
      if (rank.first && options.before_offer) CKPT_RETURN_IF_ERROR(options.before_offer(bucket));
      in_step.arrive_and_wait();
      CKPT_RETURN_IF_ERROR(offer(*rank.session, bucket++, placed, deadline));
      placed.clear();
    }
    CKPT_RETURN_IF_ERROR(rank.session->release(deadline));
    return rank.session->finish(deadline);
  }

  static Status offer(BucketSession& session, std::uint32_t bucket, const std::vector<PlacedTensor>& placed, Deadline deadline) {
    return session.offer(bucket, encode_bucket(Dialect::native, bucket, placed, {}), deadline);
  }

  const std::string url_;
  const int tp_;
  const std::vector<Parameter> parameters_;
  const TemporaryDirectory directory_;
  Mutex sessions_mutex_;  // a session may be ended by the call's thread while it is closed
};

}  // namespace ckpt::testing
