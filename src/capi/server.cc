#include "capi/server.h"

#include <nlohmann/json.hpp>

#include "os/threads.h"

using ckpt::Deadline;
using ckpt::MutexLock;
using ckpt::Result;
using ckpt::Scope;
using ckpt::Status;
using ckpt::StatusCode;

namespace {

constexpr ckpt::Duration kLongEnough = std::chrono::hours(24);

}  // namespace

Result<std::unique_ptr<ckpt_server>> ckpt_server::create(ckpt::Settings settings) {
  std::unique_ptr<ckpt_server> server(new ckpt_server(std::move(settings)));
  CKPT_ASSIGN_OR_RETURN(server->thread_, ckpt::start_thread("serve a rank", [raw = server.get()] { raw->serve(); }));
  return server;
}

ckpt_server::~ckpt_server() {
  {
    const MutexLock lock(mutex_);
    ending_ = true;
    if (current_ != nullptr) current_->stop.trigger({StatusCode::cancelled, Scope::operation, "the server is being freed"});
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

Result<std::unique_ptr<ckpt_operation>> ckpt_server::start(ckpt::Duration timeout, Work work) {
  auto operation = std::make_unique<ckpt_operation>(Deadline::after(timeout));
  const MutexLock lock(mutex_);
  if (busy_) return Status(StatusCode::failed_precondition, Scope::operation, "another operation of this server is under way");
  busy_ = true;
  current_ = operation.get();
  task_ = Task{operation.get(), std::move(work)};
  changed_.notify_all();
  return operation;
}

Result<std::string> ckpt_server::run(Work work) {
  CKPT_ASSIGN_OR_RETURN(const std::unique_ptr<ckpt_operation> operation, start(kLongEnough, std::move(work)));
  operation->wait_for_end();
  return *operation->result();
}

void ckpt_server::serve() {
  for (;;) {
    std::optional<Task> task;
    {
      MutexLock lock(mutex_);
      while (!task_ && !ending_) changed_.wait(mutex_);
      if (!task_) break;
      task.swap(task_);
    }
    Result<std::string> result = task->work(*task->operation);
    task->work = nullptr;  // and what it holds, before the caller hears of the end
    {
      const MutexLock lock(mutex_);
      busy_ = false;
      current_ = nullptr;
    }
    task->operation->end(std::move(result));
  }
  end_rank();
}

/// Where the device and its memory were made.
void ckpt_server::end_rank() {
  rank_.reset();
  store_.reset();
}

Result<ckpt::ParameterServer*> ckpt_server::rank() {
  if (!rank_) return Status(StatusCode::failed_precondition, Scope::operation, "this process is no rank yet").advise("join the group first");
  return rank_.get();
}

Result<std::string> ckpt_server::join(const std::optional<ckpt::LauncherEnvironment>& place, ckpt_operation& operation) {
  if (rank_) return Status(StatusCode::failed_precondition, Scope::operation, "this process is a rank already");
  CKPT_ASSIGN_OR_RETURN(ckpt::JoinedGroup joined, ckpt::join_as_rank(settings_, place, operation.deadline, operation.stop));
  auto progress = [this](ckpt::Stage stage, std::uint64_t done, std::uint64_t total) {
    const MutexLock lock(mutex_);
    if (current_ != nullptr) current_->tell_progress(stage, done, total);
  };
  CKPT_ASSIGN_OR_RETURN(std::unique_ptr<ckpt::ParameterServer> rank,
                        ckpt::ParameterServer::create(std::move(joined.group), settings_, std::move(progress)));
  store_ = std::move(joined.store);
  rank_ = std::move(rank);
  return nlohmann::json{{"rank", rank_->group().rank()},
                        {"world_size", rank_->group().size()},
                        {"device_key", rank_->device().key()},
                        {"device", rank_->device().kind()}}
      .dump();
}

Result<std::string> ckpt_server::leave(ckpt_operation& operation) {
  if (!rank_) return std::string();
  Status status = rank_->group().leave(operation.deadline);
  if (status.ok()) status = ckpt::let_others_leave(store_.get(), operation.deadline, operation.stop);
  end_rank();
  CKPT_RETURN_IF_ERROR(status);
  return std::string();
}
