// What every Collective must do. The ranks are threads with real stores and real transports; processes that die are in tests/multiproc.
#include <cstring>
#include <functional>
#include <thread>

#include "base/bytes.h"
#include "base/fault_point.h"
#include "rendezvous/store_server.h"
#include "support/matchers.h"
#include "transfer/collective.h"
#include "transfer/ucx/ucx_collective.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using testing::Is;

struct Backend {
  const char* name;
  const char* tls;
  bool in_place;  ///< ranks of one host read each other's memory; else all bytes are UCX's
};
const Backend kBackends[] = {
    {"ucx_default", "", true}, {"ucx_tcp", "tcp", false}, {"ucx_shared_memory", "posix,cma,self", true}, {"ucx_two_copies", "posix,self", false}};

#if defined(__SANITIZE_THREAD__)
constexpr std::uint64_t kCheckStep = 61;  // looking at every byte would take minutes
#else
constexpr std::uint64_t kCheckStep = 1;
#endif

Deadline soon() { return Deadline::after(std::chrono::seconds(30)); }
std::byte pattern(std::uint32_t rank, std::uint64_t offset, std::uint64_t round) {
  return static_cast<std::byte>((rank * 89 + offset * 13 + offset / 257 + round * 7) & 0xff);
}

class CollectiveConformance : public ::testing::TestWithParam<Backend> {
 protected:
  using RankWork = std::function<Status(Group&, Collective&)>;

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
    UcxOptions options;
    options.tls = GetParam().tls;
    options.chunk_bytes = 64 * KiB;
    CKPT_ASSIGN_OR_RETURN(const auto collective, make_ucx_collective(*group, options, soon()));
    const Status status = work(*group, *collective);
    static_cast<void>(group->barrier("end", soon()));
    return status;
  }

  static std::uint64_t total(const std::vector<std::uint64_t>& units) {
    std::uint64_t sum = 0;
    for (const std::uint64_t unit : units) sum += unit;
    return sum;
  }
  static Status check(const Bytes& buffer, const std::vector<std::uint64_t>& units, std::uint64_t round) {
    std::uint64_t at = 0;
    for (std::uint32_t rank = 0; rank < units.size(); at += units[rank++])
      for (std::uint64_t i = 0; i < units[rank]; i += kCheckStep)
        if (buffer[at + i] != pattern(rank, i, round))
          return {StatusCode::data_corruption, Scope::operation, "round {}: byte {} of rank {}'s unit is wrong", round, i, rank};
    return Status::success();
  }
  static void fill(Bytes& buffer, const std::vector<std::uint64_t>& units, std::uint32_t rank, std::uint64_t round) {
    std::uint64_t at = 0;
    for (std::uint32_t r = 0; r < rank; ++r) at += units[r];
    for (std::uint64_t i = 0; i < units[rank]; ++i) buffer[at + i] = pattern(rank, i, round);
  }
};

TEST_P(CollectiveConformance, AllGatherGivesEveryUnitToEveryRank) {
  for (const std::uint32_t num_ranks : {2u, 3u, 4u}) {
    for (const std::uint64_t unit : {std::uint64_t{256}, std::uint64_t{256 * 37}, 3 * MiB}) {
      for (const Status& status : as_ranks(num_ranks, [&](Group& group, Collective& collective) -> Status {
             const AbortSignal never;
             std::vector<std::uint64_t> units(num_ranks, unit);
             Bytes buffer(total(units));
             CKPT_RETURN_IF_ERROR(collective.register_buffer(buffer, -1));
             for (std::uint64_t round = 0; round < 3; ++round) {
               fill(buffer, units, group.rank(), round);
               CKPT_ASSIGN_OR_RETURN(const auto work, collective.all_gather(buffer.data(), units, nullptr));
               CKPT_RETURN_IF_ERROR(work->wait(soon(), never));
               CKPT_RETURN_IF_ERROR(check(buffer, units, round));
               CKPT_RETURN_IF_ERROR(group.barrier("round", soon()));
             }
             collective.unregister_buffer(buffer);
             return Status::success();
           }))
        EXPECT_OK(status) << num_ranks << " ranks, units of " << unit;
    }
  }
}

TEST_P(CollectiveConformance, UnitsMayBeUnevenAndEmpty) {
  const std::vector<std::vector<std::uint64_t>> shapes{{0, 256, 512 * 1024}, {256, 0, 0}, {0, 0, 0}, {1 * MiB + 256, 768, 0}};
  for (const Status& status : as_ranks(3, [&](Group& group, Collective& collective) -> Status {
         const AbortSignal never;
         for (const auto& units : shapes) {
           Bytes buffer(total(units));
           fill(buffer, units, group.rank(), 1);
           CKPT_ASSIGN_OR_RETURN(const auto work, collective.all_gather(buffer.data(), units, nullptr));
           CKPT_RETURN_IF_ERROR(work->wait(soon(), never));
           CKPT_RETURN_IF_ERROR(check(buffer, units, 1));
           CKPT_RETURN_IF_ERROR(group.barrier("shape", soon()));
         }
         return Status::success();
       }))
    EXPECT_OK(status);
}

TEST_P(CollectiveConformance, OperationsOverlap) {
  constexpr std::uint64_t kOperations = 16;
  for (const Status& status : as_ranks(2, [](Group& group, Collective& collective) -> Status {
         const AbortSignal never;
         const std::vector<std::uint64_t> units{64 * KiB, 64 * KiB};
         std::vector<Bytes> buffers(kOperations, Bytes(128 * KiB));
         std::vector<std::unique_ptr<Work>> works;
         for (std::uint64_t i = 0; i < kOperations; ++i) {
           fill(buffers[i], units, group.rank(), i);
           CKPT_ASSIGN_OR_RETURN(auto work, collective.all_gather(buffers[i].data(), units, nullptr));
           works.push_back(std::move(work));
         }
         for (std::uint64_t i = 0; i < kOperations; ++i) {
           CKPT_RETURN_IF_ERROR(works[i]->wait(soon(), never));
           CKPT_RETURN_IF_ERROR(check(buffers[i], units, i));
         }
         return Status::success();
       }))
    EXPECT_OK(status);
}

TEST_P(CollectiveConformance, BroadcastReachesEveryRankInChunks) {
  for (const std::uint32_t root : {0u, 2u}) {
    for (const Status& status : as_ranks(4, [root](Group& group, Collective& collective) -> Status {
           const AbortSignal never;
           const std::vector<std::uint64_t> units{1 * MiB + 512};
           Bytes buffer(units[0]);
           if (group.rank() == root) fill(buffer, units, 0, 5);
           CKPT_ASSIGN_OR_RETURN(const auto work, collective.broadcast(buffer, root, nullptr));
           CKPT_RETURN_IF_ERROR(work->wait(soon(), never));
           return check(buffer, units, 5);
         }))
      EXPECT_OK(status) << "root " << root;
  }
}

TEST_P(CollectiveConformance, AbortEndsAWaitFromAnotherThreadAndStays) {
  const auto outcomes = as_ranks(2, [](Group& group, Collective& collective) -> Status {
    const AbortSignal never;
    if (group.rank() == 1) return Status::success();  // never takes part
    const std::vector<std::uint64_t> units{64 * KiB, 64 * KiB};
    Bytes buffer(128 * KiB);
    CKPT_ASSIGN_OR_RETURN(const auto work, collective.all_gather(buffer.data(), units, nullptr));
    std::thread other([&] { collective.abort(Status(StatusCode::cancelled, Scope::operation, "enough")); });
    const Status waited = work->wait(soon(), never);
    other.join();
    const auto later = collective.all_gather(buffer.data(), units, nullptr);
    return later.ok() ? Status(StatusCode::internal, Scope::operation, "an aborted collective goes on") : waited;
  });
  EXPECT_THAT(outcomes[0], Is(StatusCode::cancelled, HasSubstr("enough")));
}

TEST_P(CollectiveConformance, AWaitEndsAtItsDeadlineAndTheNextCollectiveWorks) {
  for (const Status& status : as_ranks(2, [this](Group& group, Collective& collective) -> Status {
         const AbortSignal never;
         const std::vector<std::uint64_t> units{4 * MiB, 4 * MiB};
         Bytes buffer(8 * MiB);
         if (group.rank() == 0) {
           CKPT_ASSIGN_OR_RETURN(const auto work, collective.all_gather(buffer.data(), units, nullptr));
           if (work->wait(Deadline::after(std::chrono::milliseconds(50)), never).code() != StatusCode::deadline_exceeded)
             return {StatusCode::internal, Scope::operation, "the deadline was ignored"};
           collective.abort(Status(StatusCode::cancelled, Scope::operation, "late"));
           if (work->wait(soon(), never).ok()) return {StatusCode::internal, Scope::operation, "an aborted operation succeeded"};
         }
         CKPT_RETURN_IF_ERROR(group.barrier("aborted", soon()));
         UcxOptions options;
         options.tls = GetParam().tls;
         CKPT_ASSIGN_OR_RETURN(const auto next, make_ucx_collective(group, options, soon()));
         fill(buffer, units, group.rank(), 9);
         CKPT_ASSIGN_OR_RETURN(const auto again, next->all_gather(buffer.data(), units, nullptr));
         CKPT_RETURN_IF_ERROR(again->wait(soon(), never));
         CKPT_RETURN_IF_ERROR(check(buffer, units, 9));
         return group.barrier("done", soon());
       }))
    EXPECT_OK(status);
}

#if defined(CKPT_FAULT_POINTS)
TEST_P(CollectiveConformance, WhereOneDirectionIsRefusedItsBytesTakeTheOtherWay) {
  ASSERT_OK(set_fault_rules("sys.process_vm_readv:1:error"));  // one of the first looks at a peer's memory
  const std::vector<std::uint64_t> units(3, 1 * MiB);
  for (const Status& status : as_ranks(3, [&](Group& group, Collective& collective) -> Status {
         const AbortSignal never;
         Bytes buffer(total(units));
         fill(buffer, units, group.rank(), 2);
         CKPT_ASSIGN_OR_RETURN(const auto work, collective.all_gather(buffer.data(), units, nullptr));
         CKPT_RETURN_IF_ERROR(work->wait(soon(), never));
         return check(buffer, units, 2);
       }))
    EXPECT_OK(status);
  ASSERT_OK(set_fault_rules(""));
}

TEST_P(CollectiveConformance, ACopyThatFailsEndsTheOperationOnBothSides) {
  ASSERT_OK(set_fault_rules("sys.process_vm_readv:5:error"));  // two looks at peers' memory, then copies
  const std::vector<std::uint64_t> units{4 * MiB, 0};          // rank 1 reads, rank 0 is read
  const auto outcomes = as_ranks(2, [&](Group&, Collective& collective) -> Status {
    const AbortSignal never;
    Bytes buffer(total(units));
    CKPT_ASSIGN_OR_RETURN(const auto work, collective.all_gather(buffer.data(), units, nullptr));
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
  for (const Status& status : as_ranks(2, [this](Group&, Collective& collective) -> Status {
         const std::vector<std::uint64_t> units{256};
         Bytes buffer(256);
         if (collective.all_gather(buffer.data(), units, nullptr).status().code() != StatusCode::invalid_argument)
           return {StatusCode::internal, Scope::operation, "one unit for two ranks was taken"};
         if (collective.broadcast(buffer, 2, nullptr).status().code() != StatusCode::invalid_argument)
           return {StatusCode::internal, Scope::operation, "a root that is not there was taken"};
         if ((collective.lane().find("cma") != std::string::npos) != GetParam().in_place)
           return {StatusCode::internal, Scope::operation, "lane {}", collective.lane()};
         return Status::success();
       }))
    EXPECT_OK(status);
}

INSTANTIATE_TEST_SUITE_P(Collective, CollectiveConformance, ::testing::ValuesIn(kBackends),
                         [](const auto& backend) { return std::string(backend.param.name); });

}  // namespace
}  // namespace ckpt
