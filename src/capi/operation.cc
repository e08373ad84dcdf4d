#include "capi/operation.h"

#include <nlohmann/json.hpp>

#include "capi/error.h"

using ckpt::Duration;
using ckpt::MutexLock;
using ckpt::Status;

void ckpt_operation::tell_progress(ckpt::Stage stage, std::uint64_t done_bytes, std::uint64_t total_bytes) {
  const MutexLock lock(mutex_);
  progress_ = {ckpt::name(stage).data(), done_bytes, total_bytes};  // of a literal: ends in zero
}

ckpt_operation::Progress ckpt_operation::progress() const {
  const MutexLock lock(mutex_);
  return progress_;
}

void ckpt_operation::end(ckpt::Result<std::string> result) {
  const MutexLock lock(mutex_);
  result_ = std::move(result);
  changed_.notify_all();  // under the lock: who is woken may free this
}

void ckpt_operation::wake() {
  const MutexLock lock(mutex_);
  changed_.notify_all();
}

ckpt_operation_state ckpt_operation::wait(Duration timeout) {
  const ckpt::Deadline until = ckpt::Deadline::after(timeout);
  MutexLock lock(mutex_);
  for (;;) {
    if (result_) return CKPT_DONE;
    if (!call_told_ && desk.asked() != nullptr) {
      call_told_ = true;
      return CKPT_CALL_ENGINES;
    }
    if (until.passed()) return CKPT_RUNNING;
    changed_.wait_until(mutex_, until.time());
  }
}

void ckpt_operation::wait_for_end() {
  MutexLock lock(mutex_);
  while (!result_) changed_.wait(mutex_);
}

const std::string& ckpt_operation::addresses() {
  const std::vector<ckpt::WorkerAddress>* asked = desk.asked();
  if (addresses_.empty() && asked != nullptr) {
    nlohmann::json list = nlohmann::json::array();
    for (const ckpt::WorkerAddress& worker : *asked) list.push_back({worker.device_key, worker.endpoint});
    addresses_ = list.dump();
  }
  return addresses_;
}

const ckpt::Result<std::string>* ckpt_operation::result() const {
  const MutexLock lock(mutex_);
  return result_ ? &*result_ : nullptr;
}

ckpt_operation_state ckpt_operation_wait(ckpt_operation* operation, std::uint32_t timeout_ms) {
  return operation->wait(std::chrono::milliseconds(timeout_ms));
}

void ckpt_operation_progress(ckpt_operation* operation, const char** stage, std::uint64_t* done_bytes, std::uint64_t* total_bytes) {
  const ckpt_operation::Progress now = operation->progress();
  *stage = now.stage;
  *done_bytes = now.done_bytes;
  *total_bytes = now.total_bytes;
}

const char* ckpt_operation_addresses(ckpt_operation* operation) { return operation->addresses().c_str(); }

void ckpt_operation_engines_replied(ckpt_operation* operation, const char* error_text) {
  operation->desk.reply(error_text == nullptr ? Status::success() : Status::of(ckpt::StatusCode::remote_error, ckpt::Scope::peer, error_text));
}

void ckpt_operation_cancel(ckpt_operation* operation, const char* reason) {
  operation->stop.trigger(Status::of(ckpt::StatusCode::cancelled, ckpt::Scope::operation, reason != nullptr ? reason : "the caller gave up"));
}

std::int32_t ckpt_operation_result(ckpt_operation* operation, const char** text, ckpt_error** error) {
  const ckpt::Result<std::string>* result = operation->result();
  if (result == nullptr)
    return ckpt::capi::hand_out(Status(ckpt::StatusCode::failed_precondition, ckpt::Scope::operation, "the operation has not ended"), error);
  if (result->ok() && text != nullptr) *text = (*result)->c_str();
  return ckpt::capi::hand_out(result->status(), error);
}

void ckpt_operation_free(ckpt_operation* operation) {
  if (operation == nullptr) return;
  ckpt_operation_cancel(operation, "the caller gave up");
  operation->wait_for_end();
  delete operation;
}
