// What every Collective must do. The ranks are threads with real stores and real transports; processes that die are in tests/multiproc.
#include <cstring>
#include <functional>
#include <thread>

#include "base/bytes.h"
#include "base/fault_point.h"
#include "conformance/device_bytes.h"
#include "device/cuda/cuda_device.h"
#include "device/host/host_device.h"
#include "rendezvous/store_server.h"
#include "support/matchers.h"
#include "transfer/collective.h"
#include "transfer/nccl/nccl_collective.h"
#include "transfer/ucx/ucx_collective.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using testing::Is;

struct Backend {
  const char* name;
  const char* tls;  ///< of UCX; null: NCCL on GPUs
  bool in_place;    ///< ranks of one host read each other's memory; else all bytes are UCX's
  [[nodiscard]] bool on_gpus() const { return tls == nullptr; }
};
const Backend kBackends[] = {{"ucx_default", "", true},
                             {"ucx_tcp", "tcp", false},
                             {"ucx_shared_memory", "posix,cma,self", true},
                             {"ucx_two_copies", "posix,self", false},
                             {"nccl", nullptr, false}};

#if defined(__SANITIZE_THREAD__)
constexpr std::uint64_t kCheckStep = 61;  // looking at every byte would take minutes
#else
constexpr std::uint64_t kCheckStep = 1;
#endif

Deadline soon() { return Deadline::after(std::chrono::seconds(30)); }
std::byte pattern(std::uint32_t rank, std::uint64_t offset, std::uint64_t round) {
  return static_cast<std::byte>((rank * 89 + offset * 13 + offset / 257 + round * 7) & 0xff);
}

/// One rank under a test. What it allocates stays until its collective has ended: an operation that was aborted may use it until then.
class Rank {
 public:
  Rank(const Backend& with, Group& in, std::unique_ptr<Device> on) : group(in), backend_(with), device_(std::move(on)) {}

  /// Makes the collective, after the end of the one before it.
  [[nodiscard]] Status connect() {
    collective_.reset();
    stream_.reset();  // with what was aborted
    CKPT_ASSIGN_OR_RETURN(collective_, backend_.on_gpus() ? make_nccl_collective(group, *device_, {}, soon()) : with_ucx());
    const AbortSignal never;
    return collective_->connected(soon(), never);
  }
  [[nodiscard]] Collective& collective() { return *collective_; }
  [[nodiscard]] Result<std::span<std::byte>> allocate(std::uint64_t bytes) {
    CKPT_ASSIGN_OR_RETURN(auto buffer, device_->allocate(align_up(std::max<std::uint64_t>(bytes, 1), kTensorAlignment)));
    buffers_.push_back(std::move(buffer));
    return std::span(buffers_.back()->data(), bytes);
  }
  [[nodiscard]] int fd_of_last_buffer() const { return buffers_.back()->exported().fd; }
  /// The stream of operations; null where there are none.
  [[nodiscard]] Result<DeviceStream*> stream() {
    if (!backend_.on_gpus()) return nullptr;
    if (stream_ == nullptr) {
      CKPT_ASSIGN_OR_RETURN(stream_, device_->create_stream());
    }
    return stream_.get();
  }
  [[nodiscard]] Device& device() { return *device_; }
  [[nodiscard]] std::uint32_t rank() const { return group.rank(); }

  Group& group;

 private:
  [[nodiscard]] Result<std::unique_ptr<Collective>> with_ucx() {
    UcxOptions options;
    options.tls = backend_.tls;
    options.chunk_bytes = 64 * KiB;
    return make_ucx_collective(group, options, soon());
  }
  const Backend& backend_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<DeviceStream> stream_;
  std::vector<std::unique_ptr<DeviceBuffer>> buffers_;
  std::unique_ptr<Collective> collective_;
};

class CollectiveConformance : public ::testing::TestWithParam<Backend> {
 protected:
  void SetUp() override {
    const Result<int> gpus = cuda_device_count();
    if (GetParam().on_gpus() && gpus.ok() && *gpus < 2) GTEST_SKIP() << "needs two GPUs, and this process sees " << *gpus;
  }
  using RankWork = std::function<Status(Rank&, Collective&)>;
  using Units = std::vector<std::uint64_t>;

  /// Runs `work` as each of `num_ranks` ranks with a collective of the backend; returns their statuses.
  std::vector<Status> as_ranks(std::uint32_t num_ranks, const RankWork& work) {
    const auto server = StoreServer::start({"127.0.0.1", 0, num_ranks, "", std::chrono::milliseconds(200), std::chrono::seconds(20)}, soon()).value();
    std::vector<Status> outcomes(num_ranks);
    std::vector<std::thread> threads;
    for (std::uint32_t rank = 0; rank < num_ranks; ++rank)
      threads.emplace_back([&, rank] { outcomes[rank] = as_rank(server->address(), rank, num_ranks, work); });
    for (std::thread& thread : threads) thread.join();
    return outcomes;
  }
  Status as_rank(const StoreAddress& store, std::uint32_t rank, std::uint32_t num_ranks, const RankWork& work) {
    const AbortSignal never;
    CKPT_ASSIGN_OR_RETURN(const auto group,
                          join_group({store, rank, num_ranks, "", std::chrono::milliseconds(200), std::chrono::seconds(20)}, soon(), never));
    const int number = static_cast<int>(rank);
    CKPT_ASSIGN_OR_RETURN(auto device, GetParam().on_gpus() ? make_cuda_device({number, ""}) : make_host_device({number, 1}));
    Rank made(GetParam(), *group, std::move(device));
    CKPT_RETURN_IF_ERROR(made.connect());
    const Status status = work(made, made.collective());
    static_cast<void>(group->barrier("end", soon()));
    return status;
  }
  /// Fewer where there are not so many GPUs.
  static std::uint32_t at_most(std::uint32_t num_ranks) {
    if (!GetParam().on_gpus()) return num_ranks;
    const auto gpus = cuda_device_count();
    return gpus.ok() ? std::min(num_ranks, static_cast<std::uint32_t>(*gpus)) : num_ranks;
  }

  static std::uint64_t total(const Units& units) {
    std::uint64_t sum = 0;
    for (const std::uint64_t unit : units) sum += unit;
    return sum;
  }
  static Status check(Rank& rank, std::span<const std::byte> place, const Units& units, std::uint64_t round) {
    CKPT_ASSIGN_OR_RETURN(const Bytes buffer, testing::read_device(rank.device(), place.data(), place.size()));
    std::uint64_t at = 0;
    for (std::uint32_t owner = 0; owner < units.size(); at += units[owner++])
      for (std::uint64_t i = 0; i < units[owner]; i += kCheckStep)
        if (buffer[at + i] != pattern(owner, i, round))
          return {StatusCode::data_corruption, Scope::operation, "round {}: byte {} of rank {}'s unit is wrong", round, i, owner};
    return Status::success();
  }
  static Status fill(Rank& rank, std::span<std::byte> place, const Units& units, std::uint32_t owner, std::uint64_t round) {
    std::uint64_t at = 0;
    for (std::uint32_t r = 0; r < owner; ++r) at += units[r];
    Bytes unit(units[owner]);
    for (std::uint64_t i = 0; i < units[owner]; ++i) unit[i] = pattern(owner, i, round);
    if (unit.empty()) return Status::success();
    return testing::write_device(rank.device(), place.data() + at, unit);
  }
  /// Fills this rank's unit, gathers, waits, and looks at all.
  static Status gather_and_check(Rank& rank, Collective& collective, std::span<std::byte> place, const Units& units, std::uint64_t round) {
    const AbortSignal never;
    CKPT_RETURN_IF_ERROR(fill(rank, place, units, rank.rank(), round));
    CKPT_ASSIGN_OR_RETURN(const auto stream, rank.stream());
    CKPT_ASSIGN_OR_RETURN(const auto work, collective.all_gather(place.data(), units, stream));
    CKPT_RETURN_IF_ERROR(work->wait(soon(), never));
    return check(rank, place, units, round);
  }
};

TEST_P(CollectiveConformance, AllGatherGivesEveryUnitToEveryRank) {
  for (const std::uint32_t num_ranks : {at_most(2), at_most(3), at_most(4)}) {
    for (const std::uint64_t unit : {std::uint64_t{256}, std::uint64_t{256 * 37}, 3 * MiB}) {
      for (const Status& status : as_ranks(num_ranks, [&](Rank& rank, Collective& collective) -> Status {
             const Units units(num_ranks, unit);
             CKPT_ASSIGN_OR_RETURN(const auto place, rank.allocate(total(units)));
             const int fd = unit == 256 ? -1 : rank.fd_of_last_buffer();  // peers may map it, or not
             CKPT_RETURN_IF_ERROR(collective.register_buffer(place, fd));
             for (std::uint64_t round = 0; round < 3; ++round) {
               CKPT_RETURN_IF_ERROR(gather_and_check(rank, collective, place, units, round));
               CKPT_RETURN_IF_ERROR(rank.group.barrier("round", soon()));
             }
             collective.unregister_buffer(place);
             return Status::success();
           }))
        EXPECT_OK(status) << num_ranks << " ranks, units of " << unit;
    }
  }
}

TEST_P(CollectiveConformance, UnitsMayBeUnevenAndEmpty) {
  const std::vector<Units> shapes{{0, 256, 512 * 1024}, {256, 0, 0}, {0, 0, 0}, {1 * MiB + 256, 768, 0}};
  const std::uint32_t num_ranks = at_most(3);
  for (const Status& status : as_ranks(num_ranks, [&](Rank& rank, Collective& collective) -> Status {
         for (Units units : shapes) {
           units.resize(num_ranks);
           CKPT_ASSIGN_OR_RETURN(const auto place, rank.allocate(total(units)));
           CKPT_RETURN_IF_ERROR(gather_and_check(rank, collective, place, units, 1));
           CKPT_RETURN_IF_ERROR(rank.group.barrier("shape", soon()));
         }
         return Status::success();
       }))
    EXPECT_OK(status);
}

TEST_P(CollectiveConformance, OperationsOverlap) {
  constexpr std::uint64_t kOperations = 16;
  for (const Status& status : as_ranks(2, [](Rank& rank, Collective& collective) -> Status {
         const AbortSignal never;
         const Units units{64 * KiB, 64 * KiB};
         CKPT_ASSIGN_OR_RETURN(const auto stream, rank.stream());
         std::vector<std::span<std::byte>> places;
         std::vector<std::unique_ptr<Work>> works;
         for (std::uint64_t i = 0; i < kOperations; ++i) {
           CKPT_ASSIGN_OR_RETURN(const auto place, rank.allocate(total(units)));
           places.push_back(place);
           CKPT_RETURN_IF_ERROR(fill(rank, place, units, rank.rank(), i));
           CKPT_ASSIGN_OR_RETURN(auto work, collective.all_gather(place.data(), units, stream));
           works.push_back(std::move(work));
         }
         for (std::uint64_t i = 0; i < kOperations; ++i) {
           CKPT_RETURN_IF_ERROR(works[i]->wait(soon(), never));
           CKPT_RETURN_IF_ERROR(check(rank, places[i], units, i));
         }
         return Status::success();
       }))
    EXPECT_OK(status);
}

TEST_P(CollectiveConformance, AnAllGatherFollowsTheCopiesOfItsStream) {
  if (!GetParam().on_gpus()) return;  // elsewhere the unit is filled before
  for (const Status& status : as_ranks(2, [](Rank& rank, Collective& collective) -> Status {
         const AbortSignal never;
         const Units units{MiB, MiB};
         CKPT_ASSIGN_OR_RETURN(const auto place, rank.allocate(total(units)));
         CKPT_ASSIGN_OR_RETURN(const auto stream, rank.stream());
         CKPT_ASSIGN_OR_RETURN(const auto filling, rank.device().create_stream());
         Bytes unit(MiB);
         for (std::uint64_t round = 0; round < 20; ++round) {
           for (std::uint64_t i = 0; i < unit.size(); ++i) unit[i] = pattern(rank.rank(), i, round);
           CKPT_RETURN_IF_ERROR(filling->copy_from_host(place.data() + rank.rank() * MiB, unit));
           CKPT_ASSIGN_OR_RETURN(const auto filled, filling->record());
           CKPT_RETURN_IF_ERROR(stream->wait_for(*filled));
           CKPT_ASSIGN_OR_RETURN(const auto work, collective.all_gather(place.data(), units, stream));
           CKPT_RETURN_IF_ERROR(work->wait(soon(), never));
           CKPT_RETURN_IF_ERROR(check(rank, place, units, round));
         }
         return Status::success();
       }))
    EXPECT_OK(status);
}

TEST_P(CollectiveConformance, BroadcastReachesEveryRankInChunks) {
  const std::uint32_t num_ranks = at_most(4);
  for (const std::uint32_t root : {0u, num_ranks / 2}) {
    for (const Status& status : as_ranks(num_ranks, [root](Rank& rank, Collective& collective) -> Status {
           const AbortSignal never;
           const Units units{1 * MiB + 512};
           CKPT_ASSIGN_OR_RETURN(const auto place, rank.allocate(units[0]));
           if (rank.rank() == root) CKPT_RETURN_IF_ERROR(fill(rank, place, units, 0, 5));
           CKPT_ASSIGN_OR_RETURN(const auto stream, rank.stream());
           CKPT_ASSIGN_OR_RETURN(const auto work, collective.broadcast(place, root, stream));
           CKPT_RETURN_IF_ERROR(work->wait(soon(), never));
           return check(rank, place, units, 5);
         }))
      EXPECT_OK(status) << "root " << root;
  }
}

TEST_P(CollectiveConformance, AbortEndsAWaitFromAnotherThreadAndStays) {
  const auto outcomes = as_ranks(2, [](Rank& rank, Collective& collective) -> Status {
    const AbortSignal never;
    if (rank.rank() == 1) return Status::success();  // never takes part
    const Units units{64 * KiB, 64 * KiB};
    CKPT_ASSIGN_OR_RETURN(const auto place, rank.allocate(total(units)));
    CKPT_ASSIGN_OR_RETURN(const auto stream, rank.stream());
    CKPT_ASSIGN_OR_RETURN(const auto work, collective.all_gather(place.data(), units, stream));
    std::thread other([&] { collective.abort(Status(StatusCode::cancelled, Scope::operation, "enough")); });
    const Status waited = work->wait(soon(), never);
    other.join();
    const auto later = collective.all_gather(place.data(), units, stream);
    return later.ok() ? Status(StatusCode::internal, Scope::operation, "an aborted collective goes on") : waited;
  });
  EXPECT_THAT(outcomes[0], Is(StatusCode::cancelled, HasSubstr("enough")));
}

TEST_P(CollectiveConformance, AWaitEndsAtItsDeadlineAndTheNextCollectiveWorks) {
  for (const Status& status : as_ranks(2, [](Rank& rank, Collective& collective) -> Status {
         const AbortSignal never;
         const Units units{4 * MiB, 4 * MiB};
         CKPT_ASSIGN_OR_RETURN(const auto place, rank.allocate(total(units)));
         if (rank.rank() == 0) {
           CKPT_ASSIGN_OR_RETURN(const auto stream, rank.stream());
           CKPT_ASSIGN_OR_RETURN(const auto work, collective.all_gather(place.data(), units, stream));
           if (work->wait(Deadline::after(std::chrono::milliseconds(50)), never).code() != StatusCode::deadline_exceeded)
             return {StatusCode::internal, Scope::operation, "the deadline was ignored"};
           collective.abort(Status(StatusCode::cancelled, Scope::operation, "late"));
           if (work->wait(soon(), never).ok()) return {StatusCode::internal, Scope::operation, "an aborted operation succeeded"};
         }
         CKPT_RETURN_IF_ERROR(rank.group.barrier("aborted", soon()));
         CKPT_RETURN_IF_ERROR(rank.connect());
         CKPT_ASSIGN_OR_RETURN(const auto other_place, rank.allocate(total(units)));
         CKPT_RETURN_IF_ERROR(gather_and_check(rank, rank.collective(), other_place, units, 9));
         return rank.group.barrier("done", soon());
       }))
    EXPECT_OK(status);
}

#if defined(CKPT_FAULT_POINTS)
TEST_P(CollectiveConformance, WhereOneDirectionIsRefusedItsBytesTakeTheOtherWay) {
  if (GetParam().on_gpus()) return;
  ASSERT_OK(set_fault_rules("sys.process_vm_readv:1:error"));  // one of the first looks at a peer's memory
  const Units units(3, 1 * MiB);
  for (const Status& status : as_ranks(3, [&](Rank& rank, Collective& collective) -> Status {
         CKPT_ASSIGN_OR_RETURN(const auto place, rank.allocate(total(units)));
         return gather_and_check(rank, collective, place, units, 2);
       }))
    EXPECT_OK(status);
  ASSERT_OK(set_fault_rules(""));
}

TEST_P(CollectiveConformance, ACopyThatFailsEndsTheOperationOnBothSides) {
  if (GetParam().on_gpus()) return;
  ASSERT_OK(set_fault_rules("sys.process_vm_readv:5:error"));  // two looks at peers' memory, then copies
  const Units units{4 * MiB, 0};                               // rank 1 reads, rank 0 is read
  const auto outcomes = as_ranks(2, [&](Rank& rank, Collective& collective) -> Status {
    const AbortSignal never;
    CKPT_ASSIGN_OR_RETURN(const auto place, rank.allocate(total(units)));
    CKPT_ASSIGN_OR_RETURN(const auto work, collective.all_gather(place.data(), units, nullptr));
    return work->wait(soon(), never);
  });
  ASSERT_OK(set_fault_rules(""));
  if (!GetParam().in_place) {
    for (const Status& status : outcomes) EXPECT_OK(status);
    return;
  }
  EXPECT_THAT(outcomes[0], Is(StatusCode::unavailable, HasSubstr("rank 1 could not read this rank's memory")));
  EXPECT_THAT(outcomes[1], Is(StatusCode::internal, HasSubstr("injected fault")));
}
#endif

TEST_P(CollectiveConformance, WrongCallsAreRefusedAndTheLaneIsTold) {
  for (const Status& status : as_ranks(2, [](Rank& rank, Collective& collective) -> Status {
         const Units units{256};
         CKPT_ASSIGN_OR_RETURN(const auto place, rank.allocate(256));
         CKPT_ASSIGN_OR_RETURN(const auto stream, rank.stream());
         if (collective.all_gather(place.data(), units, stream).status().code() != StatusCode::invalid_argument)
           return {StatusCode::internal, Scope::operation, "one unit for two ranks was taken"};
         if (collective.broadcast(place, 2, stream).status().code() != StatusCode::invalid_argument)
           return {StatusCode::internal, Scope::operation, "a root that is not there was taken"};
         if ((collective.lane().find("cma") != std::string::npos) != GetParam().in_place ||
             collective.lane().starts_with("nccl 2.") != GetParam().on_gpus())
           return {StatusCode::internal, Scope::operation, "lane {}", collective.lane()};
         return Status::success();
       }))
    EXPECT_OK(status);
}

INSTANTIATE_TEST_SUITE_P(Collective, CollectiveConformance, ::testing::ValuesIn(kBackends),
                         [](const auto& backend) { return std::string(backend.param.name); });

}  // namespace
}  // namespace ckpt
