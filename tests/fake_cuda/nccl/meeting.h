/// Where the ranks of a communicator meet: an object of shared memory with a seat for each, named by the communicator's unique id.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "fake_cuda.h"
#include "shared_object.h"

namespace ckpt::fake {

inline constexpr std::uint32_t kMaxRanks = 64;
inline constexpr std::uint32_t kMaxOperations = 64;  // of a group

enum class OperationKind : std::uint32_t { all_gather, broadcast };

/// One call, as its rank made it.
struct Operation {
  OperationKind kind;
  std::uint32_t root;
  std::uint64_t bytes;  ///< that a rank sends
  DeviceRange send;
  DeviceRange receive;
};

/// One rank in one communicator. What it waits for ends when `gives_up` says so.
///   posted    seat r holds what rank r sends in the operation of this number
///   taken[p]  rank p has read what rank r sends in the operation of this number
class Meeting {
 public:
  using GivesUp = std::function<bool()>;
  /// Takes the rank's seat; the rest come in their own time. Null: no shared memory, or the seat is taken (with `problem`).
  [[nodiscard]] static std::unique_ptr<Meeting> join(const std::string& name, std::uint32_t rank, std::uint32_t num_ranks, std::string* problem);
  ~Meeting();
  Meeting(const Meeting&) = delete;
  Meeting& operator=(const Meeting&) = delete;

  /// False when it gave up.
  [[nodiscard]] bool wait_for_all(const GivesUp& gives_up);
  /// Carries out a group of operations with all other ranks; returns when this rank has all, and the others have all that this one sends. False when
  /// it gave up, or the ranks do not do the same (with `problem`).
  [[nodiscard]] bool exchange(const std::vector<Operation>& operations, const GivesUp& gives_up, std::string* problem);

 private:
  struct Posted {
    OperationKind kind;
    std::uint32_t root;
    std::uint64_t bytes;
    std::array<char, 64> object;
    std::uint64_t offset;
  };
  struct Seat {
    std::atomic<std::uint32_t> num_ranks;  // 0: empty
    std::atomic<std::uint64_t> posted;
    std::array<std::atomic<std::uint64_t>, kMaxRanks> taken;
    std::uint32_t num_operations;
    std::array<Posted, kMaxOperations> operations;
  };
  struct Table {
    std::atomic<std::uint32_t> seated;
    std::array<Seat, kMaxRanks> seats;
  };

  Meeting(std::unique_ptr<SharedObject> object, std::uint32_t rank, std::uint32_t num_ranks);
  [[nodiscard]] Seat& seat(std::uint32_t rank) { return table_->seats[rank]; }
  void post(const std::vector<Operation>& operations);
  [[nodiscard]] bool take_from(std::uint32_t peer, const std::vector<Operation>& operations, const GivesUp& gives_up, std::string* problem);
  /// The bytes that `posted` names, in this process; null when they are gone.
  [[nodiscard]] const std::byte* look_at(const Posted& posted);

  std::unique_ptr<SharedObject> object_;
  Table* table_;
  std::uint32_t rank_;
  std::uint32_t num_ranks_;
  std::uint64_t number_ = 0;  // of the operation
  std::map<std::string, std::unique_ptr<SharedObject>> seen_;
};

}  // namespace ckpt::fake
