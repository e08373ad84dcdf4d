#include "device/host/copy_pool.h"

#include <algorithm>
#include <cstring>
#include <system_error>

#include "base/bytes.h"

namespace ckpt {
namespace {

constexpr std::size_t kPieceBytes = 2 * MiB;

}  // namespace

CopyPool::CopyPool(unsigned num_threads) {
  for (unsigned i = 1; i < num_threads; ++i) {
    try {
      threads_.emplace_back([this] { loop(); });
    } catch (const std::system_error&) {
      break;  // no thread left: fewer do the work
    }
  }
}

CopyPool::~CopyPool() {
  {
    const MutexLock lock(mutex_);
    quit_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void CopyPool::copy(std::byte* destination, const std::byte* source, std::size_t bytes) {
  if (threads_.empty() || bytes < 2 * kPieceBytes) {
    if (bytes > 0) std::memcpy(destination, source, bytes);
    return;
  }
  Batch batch{(bytes + kPieceBytes - 1) / kPieceBytes};
  {
    const MutexLock lock(mutex_);
    for (std::size_t at = 0; at < bytes; at += kPieceBytes)
      pieces_.push_back({destination + at, source + at, std::min(kPieceBytes, bytes - at), &batch});
  }
  changed_.notify_all();
  for (;;) {  // helps until the batch is done; pieces of other batches are as good as its own
    Piece piece{};
    {
      const MutexLock lock(mutex_);
      while (batch.left > 0 && pieces_.empty()) changed_.wait(mutex_);
      if (batch.left == 0) return;
      piece = pieces_.front();
      pieces_.pop_front();
    }
    finish(piece);
  }
}

void CopyPool::finish(const Piece& piece) {
  std::memcpy(piece.destination, piece.source, piece.bytes);
  bool last = false;
  {
    const MutexLock lock(mutex_);
    last = --piece.batch->left == 0;
  }
  if (last) changed_.notify_all();
}

void CopyPool::loop() {
  for (;;) {
    Piece piece{};
    {
      const MutexLock lock(mutex_);
      while (!quit_ && pieces_.empty()) changed_.wait(mutex_);
      if (pieces_.empty()) return;
      piece = pieces_.front();
      pieces_.pop_front();
    }
    finish(piece);
  }
}

}  // namespace ckpt
