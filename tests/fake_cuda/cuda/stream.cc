#include "cuda/stream.h"

#include <algorithm>
#include <csignal>
#include <thread>

#include "cuda/driver_state.h"
#include "fake_cuda.h"

namespace ckpt::fake {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kLook = std::chrono::milliseconds(20);  // how often a wait looks whether the process ends

/// Half of the work is held back for long, the other half hardly.
Clock::time_point draw_latest() {
  const auto hold = static_cast<std::uint64_t>(driver_state().settings.hold.count());
  const std::uint64_t us = random_up_to(1) == 0 ? hold - random_up_to(hold / 4) : random_up_to(hold / 20);
  return Clock::now() + std::chrono::microseconds(us);
}

}  // namespace

void Mark::reach() {
  const std::lock_guard lock(mutex_);
  when_ = Clock::now();
  reached_.store(true, std::memory_order_release);
  changed_.notify_all();
}

void Mark::demand() const {
  if (reached()) return;
  if (const auto stream = stream_.lock()) stream->demand(position_);
}

bool Mark::wait() {
  demand();
  std::unique_lock lock(mutex_);
  while (!reached() && !process_ends()) changed_.wait_for(lock, kLook);
  return reached();
}

std::shared_ptr<Stream> Stream::create() {
  std::shared_ptr<Stream> stream(new Stream());
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);  // the program's signals are not this thread's business
  std::thread([stream] { stream->loop(); }).detach();
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return stream;
}

std::uint64_t Stream::put(std::function<void()> work, Time latest) {
  const std::lock_guard lock(mutex_);
  queue_.push_back({std::move(work), latest, ++last_});
  changed_.notify_all();
  return last_;
}

void Stream::push(std::function<void()> work) { put(std::move(work), draw_latest()); }

void Stream::push_wait(std::shared_ptr<Mark> mark) {
  put([mark = std::move(mark)] { mark->wait(); }, draw_latest());
}

std::shared_ptr<Mark> Stream::record() {
  const std::lock_guard lock(mutex_);
  auto mark = std::make_shared<Mark>(weak_from_this(), ++last_);
  if (ended_) mark->reach();
  queue_.push_back({[mark] { mark->reach(); }, Clock::now(), last_});
  changed_.notify_all();
  return mark;
}

void Stream::demand(std::uint64_t position) {
  const std::lock_guard lock(mutex_);
  demanded_ = std::max(demanded_, position);
  changed_.notify_all();
}

void Stream::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

bool Stream::may_wait(const Item& item) const { return demanded_ < item.position && !closed_ && !process_ends() && Clock::now() < item.latest; }

void Stream::loop() {
  std::unique_lock lock(mutex_);
  while (!queue_.empty() || !closed_) {
    if (queue_.empty()) {
      changed_.wait(lock);
      continue;
    }
    Item item = std::move(queue_.front());
    queue_.pop_front();
    while (may_wait(item)) changed_.wait_until(lock, item.latest);
    lock.unlock();
    if (!process_ends()) item.work();
    item.work = nullptr;  // what it holds ends outside the lock
    lock.lock();
  }
  ended_.store(true, std::memory_order_release);
}

}  // namespace ckpt::fake
