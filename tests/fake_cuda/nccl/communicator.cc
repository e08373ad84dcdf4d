#include "nccl/communicator.h"

#include <csignal>

namespace ckpt::fake {
namespace {

constexpr std::uint64_t kLongestLaunch_us = 2000;

}  // namespace

std::shared_ptr<Communicator> Communicator::start(const std::string& name, std::uint32_t rank, std::uint32_t num_ranks) {
  std::shared_ptr<Communicator> made(new Communicator(rank, num_ranks));
  made->later([raw = made.get(), name] { raw->begin(name); });
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  made->thread_ = std::thread([raw = made.get()] { raw->loop(); });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return made;
}

Communicator::~Communicator() { abort(); }

void Communicator::begin(const std::string& name) {
  const int injected = injected_error("init");
  if (injected == kHang) return hang_until_abort();
  if (injected != 0) return fail(static_cast<NcclResult>(injected), "injected into the initialisation");
  std::string problem;
  meeting_ = Meeting::join(name, rank_, num_ranks_, &problem);
  if (meeting_ == nullptr) return fail(NcclResult::invalid_usage, problem);
  static_cast<void>(meeting_->wait_for_all([this] { return gives_up(); }));
}

NcclResult Communicator::launch(std::vector<Operation> operations, NcclStream stream) {
  if (const NcclResult state = async_error(); state != NcclResult::success)
    return refuse(NcclResult::invalid_argument, "the communicator is not ready: it was not polled until ncclSuccess, or it has failed");
  auto shared = std::make_shared<std::vector<Operation>>(std::move(operations));
  if (launched_ && random_up_to(3) != 0) {
    put_on(stream, shared);
    return NcclResult::success;
  }
  launched_ = true;  // the first one connects
  later([this, stream, shared] {
    std::this_thread::sleep_for(std::chrono::microseconds(random_up_to(kLongestLaunch_us)));
    put_on(stream, shared);
  });
  return NcclResult::in_progress;
}

void Communicator::put_on(NcclStream stream, const std::shared_ptr<std::vector<Operation>>& operations) {
  auto work = push_work(stream, [self = shared_from_this(), operations] { self->run(*operations); }, last_work_);
  if (work == nullptr) return fail(NcclResult::unhandled_cuda_error, "the stream is none");
  last_work_ = std::move(work);
}

void Communicator::run(const std::vector<Operation>& operations) {
  ++running_;
  const int injected = gives_up() ? 0 : injected_error(operations.front().kind == OperationKind::all_gather ? "all_gather" : "broadcast");
  std::string problem;
  if (injected == 0 && !gives_up() && !meeting_->exchange(operations, [this] { return gives_up(); }, &problem) && !problem.empty())
    fail(NcclResult::invalid_usage, problem);
  if (injected > 0) fail(static_cast<NcclResult>(injected), "injected into an operation");
  if (injected != 0 || !problem.empty()) hang_until_abort();  // a kernel that waits for its peers does not see the error
  --running_;
}

void Communicator::later(std::function<void()> task) {
  const std::lock_guard lock(mutex_);
  tasks_.push_back(std::move(task));
  changed_.notify_all();
}

void Communicator::loop() {
  std::unique_lock lock(mutex_);
  while (!closed_) {
    if (tasks_.empty()) {
      changed_.wait(lock);
      continue;
    }
    const auto task = tasks_.front();
    lock.unlock();
    if (!gives_up()) task();
    lock.lock();
    tasks_.pop_front();
  }
}

NcclResult Communicator::async_error() {
  const std::lock_guard lock(mutex_);
  if (error_ != NcclResult::success) return error_;
  return tasks_.empty() ? NcclResult::success : NcclResult::in_progress;
}

std::string Communicator::last_error() {
  const std::lock_guard lock(mutex_);
  return text_;
}

void Communicator::fail(NcclResult result, const std::string& why) {
  const std::lock_guard lock(mutex_);
  if (error_ == NcclResult::success) error_ = result;
  text_ = why;
}

NcclResult Communicator::refuse(NcclResult result, const std::string& why) {
  const std::lock_guard lock(mutex_);
  text_ = why;
  return result;
}

void Communicator::abort() {
  aborted_ = true;
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
  while (running_ > 0) std::this_thread::sleep_for(std::chrono::microseconds(100));
}

bool Communicator::gives_up() const { return aborted_ || process_ends(); }

void Communicator::hang_until_abort() const {
  while (!gives_up()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

}  // namespace ckpt::fake
