/// Streams and the points on them: work in order, on a thread of its own, as late as it may be.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>

namespace ckpt::fake {

class Stream;

/// A point of a stream, reached when the work before it is done. Thread-safe.
class Mark {
 public:
  Mark(std::weak_ptr<Stream> stream, std::uint64_t position) : stream_(std::move(stream)), position_(position) {}
  void reach();
  [[nodiscard]] bool reached() const { return reached_.load(std::memory_order_acquire); }
  /// Somebody wants it: the work before it is held back no longer.
  void demand() const;
  /// Demands it and waits for it; false when the process ends first.
  bool wait();
  [[nodiscard]] std::chrono::steady_clock::time_point when() const { return when_; }  ///< once reached

 private:
  std::weak_ptr<Stream> stream_;
  std::uint64_t position_;
  std::chrono::steady_clock::time_point when_;
  std::atomic<bool> reached_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
};

/// Work begins when it, or something behind it, is demanded, or when its time is over. Its thread owns it, too, until it was closed and all is done.
/// Thread-safe.
class Stream : public std::enable_shared_from_this<Stream> {
 public:
  [[nodiscard]] static std::shared_ptr<Stream> create();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  void push(std::function<void()> work);
  void push_wait(std::shared_ptr<Mark> mark);
  [[nodiscard]] std::shared_ptr<Mark> record();
  void demand(std::uint64_t position);
  /// Nothing more comes: the thread ends after the work that is there.
  void close();
  [[nodiscard]] bool ended() const { return ended_.load(std::memory_order_acquire); }

 private:
  using Time = std::chrono::steady_clock::time_point;
  struct Item {
    std::function<void()> work;
    Time latest;
    std::uint64_t position;
  };
  Stream() = default;
  /// Returns the item's position.
  std::uint64_t put(std::function<void()> work, Time latest);
  void loop();
  [[nodiscard]] bool may_wait(const Item& item) const;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Item> queue_;
  std::uint64_t last_ = 0;
  std::uint64_t demanded_ = 0;
  bool closed_ = false;
  std::atomic<bool> ended_{false};
};

}  // namespace ckpt::fake
