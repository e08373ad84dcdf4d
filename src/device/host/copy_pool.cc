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
  has_work_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void CopyPool::copy(std::span<const HostCopy> copies) {
  Batch batch{copies, cut(copies)};
  if (threads_.empty() || batch.pieces.size() < 2) {
    for (const Piece& piece : batch.pieces) run(copies, piece);
    return;
  }
  batch.left = batch.pieces.size();
  const MutexLock lock(mutex_);
  open_.push_back(&batch);
  has_work_.notify_all();
  work_on(batch);
  while (batch.left > 0) done_.wait(mutex_);
}

std::vector<CopyPool::Piece> CopyPool::cut(std::span<const HostCopy> copies) {
  std::vector<Piece> pieces;
  for (std::size_t i = 0; i < copies.size(); ++i) {
    for (std::size_t at = 0; at < copies[i].bytes;) {
      if (pieces.empty() || pieces.back().bytes >= kPieceBytes) pieces.push_back({i, at, 0});
      const std::size_t part = std::min(copies[i].bytes - at, kPieceBytes - pieces.back().bytes);
      pieces.back().bytes += part;
      at += part;
    }
  }
  return pieces;
}

void CopyPool::run(std::span<const HostCopy> copies, const Piece& piece) {
  std::size_t offset = piece.offset;
  std::size_t left = piece.bytes;
  for (std::size_t i = piece.copy; left > 0; ++i, offset = 0) {
    const std::size_t part = std::min(copies[i].bytes - offset, left);
    if (part > 0) std::memcpy(copies[i].destination + offset, copies[i].source + offset, part);
    left -= part;
  }
}

void CopyPool::work_on(Batch& batch) {
  while (batch.next < batch.pieces.size()) {
    const Piece piece = batch.pieces[batch.next++];
    if (batch.next == batch.pieces.size()) std::erase(open_, &batch);
    mutex_.unlock();
    run(batch.copies, piece);
    mutex_.lock();
    if (--batch.left == 0) done_.notify_all();
  }
}

void CopyPool::loop() {
  const MutexLock lock(mutex_);
  for (;;) {
    while (!quit_ && open_.empty()) has_work_.wait(mutex_);
    if (open_.empty()) return;
    work_on(*open_.front());
  }
}

}  // namespace ckpt
