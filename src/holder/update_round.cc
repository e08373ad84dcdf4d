#include "holder/update_round.h"

#include <algorithm>
#include <string>

namespace ckpt {

void UpdateRound::set(std::uint32_t rank, const UpdateOutcome& outcome) {
  const MutexLock lock(mutex_);
  if (outcome.update != update_ || outcomes_[rank]) return;
  outcomes_[rank] = outcome;
  if (first_failure_.ok()) first_failure_ = outcome.status;
  changed_.notify_all();
}

void UpdateRound::set_lost(std::uint32_t rank, const Status& reason) {
  UpdateOutcome outcome;
  outcome.update = update_;
  outcome.status = reason;
  outcome.touched_arena = true;
  set(rank, outcome);
  const MutexLock lock(mutex_);
  committed_[rank] = true;  // nobody is left to follow; its successor is greeted with the commit
  changed_.notify_all();
}

void UpdateRound::set_committed(std::uint32_t rank, std::uint64_t update) {
  const MutexLock lock(mutex_);
  if (update != update_) return;
  committed_[rank] = true;
  changed_.notify_all();
}

void UpdateRound::fail(const Status& reason) {
  const MutexLock lock(mutex_);
  if (first_failure_.ok()) first_failure_ = reason;
  changed_.notify_all();
}

bool UpdateRound::complete() const {
  return std::all_of(outcomes_.begin(), outcomes_.end(), [](const auto& outcome) { return outcome.has_value(); });
}

template <typename Condition>
bool UpdateRound::wait_until(Deadline deadline, Condition condition) {
  while (!condition())
    if (changed_.wait_until(mutex_, deadline.time()) == std::cv_status::timeout) return condition();
  return true;
}

Status UpdateRound::wait_prepared(Deadline deadline) {
  const MutexLock lock(mutex_);
  wait_until(deadline, [this]() CKPT_REQUIRES(mutex_) { return !first_failure_.ok() || complete(); });
  if (!first_failure_.ok() || complete()) return first_failure_;
  std::string missing;
  for (std::size_t rank = 0; rank < outcomes_.size(); ++rank)
    if (!outcomes_[rank]) missing += fmt::format("{}{}", missing.empty() ? "" : ", ", rank);
  return {StatusCode::deadline_exceeded, Scope::peer, "the update did not end in time; workers still at it: {}", missing};
}

bool UpdateRound::wait_outcomes(Deadline deadline) {
  const MutexLock lock(mutex_);
  return wait_until(deadline, [this]() CKPT_REQUIRES(mutex_) { return complete(); });
}

bool UpdateRound::wait_committed(Deadline deadline) {
  const MutexLock lock(mutex_);
  return wait_until(deadline, [this]() CKPT_REQUIRES(mutex_) { return std::find(committed_.begin(), committed_.end(), false) == committed_.end(); });
}

std::vector<std::optional<UpdateOutcome>> UpdateRound::outcomes() const {
  const MutexLock lock(mutex_);
  return outcomes_;
}

}  // namespace ckpt
