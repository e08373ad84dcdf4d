#include "nccl/meeting.h"

#include <cstring>
#include <thread>

namespace ckpt::fake {
namespace {

/// Looks again and again; false when it gave up.
template <typename Condition>
bool wait_until(const Condition& condition, const Meeting::GivesUp& gives_up) {
  for (int looks = 0; !condition(); ++looks) {
    if (gives_up()) return false;
    if (looks < 50)
      std::this_thread::yield();
    else
      std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  return true;
}

}  // namespace

Meeting::Meeting(std::unique_ptr<SharedObject> object, std::uint32_t rank, std::uint32_t num_ranks)
    : object_(std::move(object)), table_(reinterpret_cast<Table*>(object_->data())), rank_(rank), num_ranks_(num_ranks) {}

std::unique_ptr<Meeting> Meeting::join(const std::string& name, std::uint32_t rank, std::uint32_t num_ranks, std::string* problem) {
  auto object = SharedObject::join(name, sizeof(Table));
  if (object == nullptr) {
    *problem = "no shared memory for " + name;
    return nullptr;
  }
  std::unique_ptr<Meeting> meeting(new Meeting(std::move(object), rank, num_ranks));
  std::uint32_t empty = 0;
  if (!meeting->seat(rank).num_ranks.compare_exchange_strong(empty, num_ranks)) {
    *problem = "rank " + std::to_string(rank) + " is there twice";
    return nullptr;
  }
  if (meeting->table_->seated.fetch_add(1) + 1 == num_ranks) meeting->object_->unlink();  // nobody else needs the name
  return meeting;
}

Meeting::~Meeting() {
  if (table_->seated < num_ranks_) object_->unlink();  // it failed: who comes later waits alone
}

bool Meeting::wait_for_all(const GivesUp& gives_up) {
  return wait_until([this] { return table_->seated >= num_ranks_; }, gives_up);
}

bool Meeting::exchange(const std::vector<Operation>& operations, const GivesUp& gives_up, std::string* problem) {
  ++number_;
  post(operations);
  for (const Operation& one : operations) {
    std::byte* own = one.receive.at.get() + (one.kind == OperationKind::all_gather ? rank_ * one.bytes : 0);
    const bool gives = one.kind == OperationKind::all_gather || one.root == rank_;
    if (gives && own != one.send.at.get()) std::memmove(own, one.send.at.get(), one.bytes);
  }
  for (std::uint32_t step = 1; step < num_ranks_; ++step)
    if (!take_from((rank_ + step) % num_ranks_, operations, gives_up, problem)) return false;
  for (std::uint32_t peer = 0; peer < num_ranks_; ++peer)
    if (peer != rank_ && !wait_until([&] { return seat(rank_).taken[peer] >= number_; }, gives_up)) return false;
  return true;
}

void Meeting::post(const std::vector<Operation>& operations) {
  Seat& own = seat(rank_);
  own.num_operations = static_cast<std::uint32_t>(operations.size());
  for (std::size_t i = 0; i < operations.size(); ++i) {
    const Operation& one = operations[i];
    own.operations[i] = {one.kind, one.root, one.bytes, {}, one.send.offset};
    one.send.object.copy(own.operations[i].object.data(), own.operations[i].object.size() - 1);
  }
  own.posted = number_;
}

bool Meeting::take_from(std::uint32_t peer, const std::vector<Operation>& operations, const GivesUp& gives_up, std::string* problem) {
  Seat& theirs = seat(peer);
  if (!wait_until([&] { return theirs.posted >= number_; }, gives_up)) return false;
  bool equal = theirs.num_operations == operations.size();
  for (std::size_t i = 0; equal && i < operations.size(); ++i) {
    const Posted& posted = theirs.operations[i];
    equal = posted.kind == operations[i].kind && posted.root == operations[i].root && posted.bytes == operations[i].bytes;
  }
  if (!equal) {
    *problem = "operation " + std::to_string(number_) + " of rank " + std::to_string(peer) + " is another than that of rank " + std::to_string(rank_);
    return false;
  }
  for (std::size_t i = 0; i < operations.size(); ++i) {
    const Operation& one = operations[i];
    if (one.bytes == 0 || (one.kind == OperationKind::broadcast && one.root != peer)) continue;
    const std::byte* from = look_at(theirs.operations[i]);
    if (from == nullptr) return wait_until([] { return false; }, gives_up);  // it died or freed its memory: as on GPUs, nobody is told
    std::memcpy(one.receive.at.get() + (one.kind == OperationKind::all_gather ? peer * one.bytes : 0), from, one.bytes);
  }
  theirs.taken[rank_] = number_;
  return true;
}

const std::byte* Meeting::look_at(const Posted& posted) {
  const std::string name = posted.object.data();
  auto found = seen_.find(name);
  if (found == seen_.end()) {
    auto object = SharedObject::look_at(name);
    if (object == nullptr) return nullptr;
    if (seen_.size() >= std::size_t{2} * num_ranks_) seen_.clear();  // what peers freed since is freed here, too
    found = seen_.emplace(name, std::move(object)).first;
  }
  return found->second->data() + posted.offset;
}

}  // namespace ckpt::fake
