/// A communicator: the state that a caller polls, and the operations that reach its stream.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "nccl/meeting.h"
#include "transfer/nccl/nccl_library.h"

namespace ckpt::fake {

/// Non-blocking: what takes time is done by a thread of its own, while async_error() is in_progress. Thread-safe, as far as NCCL is.
class Communicator : public std::enable_shared_from_this<Communicator> {
 public:
  [[nodiscard]] static std::shared_ptr<Communicator> start(const std::string& name, std::uint32_t rank, std::uint32_t num_ranks);
  ~Communicator();

  [[nodiscard]] NcclResult async_error();
  [[nodiscard]] std::string last_error();
  [[nodiscard]] std::uint32_t num_ranks() const { return num_ranks_; }
  [[nodiscard]] std::uint32_t rank() const { return rank_; }

  /// Puts a group of operations on `stream`, at once or (in_progress) a moment later. Anything else: nothing was done.
  [[nodiscard]] NcclResult launch(std::vector<Operation> operations, NcclStream stream);
  /// Ends what hangs; when it returns, nothing of this communicator runs on a stream.
  void abort();
  NcclResult refuse(NcclResult result, const std::string& why);

 private:
  Communicator(std::uint32_t rank, std::uint32_t num_ranks) : rank_(rank), num_ranks_(num_ranks) {}
  void fail(NcclResult result, const std::string& why);
  void begin(const std::string& name);
  void put_on(NcclStream stream, const std::shared_ptr<std::vector<Operation>>& operations);
  void run(const std::vector<Operation>& operations);
  void later(std::function<void()> task);
  void loop();
  [[nodiscard]] bool gives_up() const;
  void hang_until_abort() const;

  const std::uint32_t rank_;
  const std::uint32_t num_ranks_;
  std::unique_ptr<Meeting> meeting_;
  std::shared_ptr<void> last_work_;
  bool launched_ = false;
  std::atomic<bool> aborted_{false};
  std::atomic<int> running_{0};

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;  // the first one runs
  NcclResult error_ = NcclResult::success;
  std::string text_;
  bool closed_ = false;
  std::thread thread_;
};

}  // namespace ckpt::fake
