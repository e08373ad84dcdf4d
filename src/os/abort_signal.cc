#include "os/abort_signal.h"

#include <sys/eventfd.h>

namespace ckpt {

AbortSignal::AbortSignal() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

void AbortSignal::trigger_from_signal_handler() noexcept {
  triggered_.store(true, std::memory_order_release);
  const std::uint64_t one = 1;
  if (fd_.valid()) static_cast<void>(!::write(fd_.get(), &one, sizeof one));
}

bool AbortSignal::trigger(Status reason) noexcept {
  {
    const MutexLock lock(mutex_);
    if (!reason_.ok()) return false;
    reason_ = std::move(reason);
  }
  trigger_from_signal_handler();
  const MutexLock lock(links_mutex_);
  for (AbortLink* link : links_) link->tell(check());
  return true;
}

Status AbortSignal::check() const {
  if (!triggered()) return Status::success();
  const MutexLock lock(mutex_);
  if (!reason_.ok()) return reason_;
  return {StatusCode::cancelled, Scope::operation, "interrupted"};
}

AbortLink::AbortLink(const AbortSignal& source, std::function<void(const Status&)> act) : source_(source), act_(std::move(act)) {
  const MutexLock lock(source_.links_mutex_);
  source_.links_.push_back(this);
  if (source_.triggered()) tell(source_.check());
}

AbortLink::~AbortLink() {
  const MutexLock lock(source_.links_mutex_);
  std::erase(source_.links_, this);
}

void AbortLink::tell(const Status& reason) {
  if (!told_.exchange(true)) act_(reason);
}

}  // namespace ckpt
