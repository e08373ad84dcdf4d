/// A rank behind the C interface: one thread that owns the parameter server and does one operation after the other.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <thread>

#include "base/options.h"
#include "capi/operation.h"
#include "server/joined_group.h"
#include "server/parameter_server.h"

/// Threads: one caller at a time. The members below `work_` are the server's thread's alone.
struct ckpt_server {
 public:
  using Work = std::function<ckpt::Result<std::string>(ckpt_operation&)>;

  [[nodiscard]] static ckpt::Result<std::unique_ptr<ckpt_server>> create(ckpt::Settings settings);
  ~ckpt_server();
  ckpt_server(const ckpt_server&) = delete;
  ckpt_server& operator=(const ckpt_server&) = delete;

  /// Hands `work` to the thread. failed_precondition: another operation is under way.
  [[nodiscard]] ckpt::Result<std::unique_ptr<ckpt_operation>> start(ckpt::Duration timeout, Work work) CKPT_EXCLUDES(mutex_);
  /// Likewise, and waits for its end: for work that takes none.
  [[nodiscard]] ckpt::Result<std::string> run(Work work);

  /* on the server's thread */
  [[nodiscard]] ckpt::Result<std::string> join(const std::optional<ckpt::LauncherEnvironment>& place, ckpt_operation& operation);
  [[nodiscard]] ckpt::Result<std::string> leave(ckpt_operation& operation);
  /// The rank. failed_precondition before join.
  [[nodiscard]] ckpt::Result<ckpt::ParameterServer*> rank();

  std::string metas;  ///< what the last ckpt_server_metas gave

 private:
  struct Task {
    ckpt_operation* operation;
    Work work;
  };
  explicit ckpt_server(ckpt::Settings settings) : settings_(std::move(settings)) {}
  void serve() CKPT_EXCLUDES(mutex_);
  void end_rank();

  ckpt::Mutex mutex_;
  ckpt::ConditionVariable changed_;
  std::optional<Task> task_ CKPT_GUARDED_BY(mutex_);
  bool busy_ CKPT_GUARDED_BY(mutex_) = false;
  bool ending_ CKPT_GUARDED_BY(mutex_) = false;
  ckpt_operation* current_ CKPT_GUARDED_BY(mutex_) = nullptr;  // told of progress, from any thread of the rank
  std::thread thread_;

  const ckpt::Settings settings_;
  std::unique_ptr<ckpt::StoreServer> store_;  // before the rank: ends after it
  std::unique_ptr<ckpt::ParameterServer> rank_;
};
