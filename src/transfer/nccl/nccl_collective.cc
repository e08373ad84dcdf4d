#include "transfer/nccl/nccl_collective.h"

#include <algorithm>
#include <cstring>

#include "transfer/nccl/nccl_communicator.h"

namespace ckpt {
namespace {

/// An operation of NCCL on a stream.
class NcclWork final : public Work {
 public:
  NcclWork(NcclCommunicator& communicator, std::unique_ptr<DeviceEvent> event) : communicator_(communicator), event_(std::move(event)) {}

  [[nodiscard]] Status wait(Deadline deadline, const AbortSignal& abort) override {
    return communicator_.wait_for(*event_, deadline, abort, "bytes from another rank");
  }
  [[nodiscard]] bool done() const override {
    const Result<bool> now = event_->done();
    return !now.ok() || *now;
  }
  [[nodiscard]] std::optional<std::int64_t> ended_at_ns() const override { return event_->reached_at_ns(); }

 private:
  NcclCommunicator& communicator_;
  std::unique_ptr<DeviceEvent> event_;
};

class NcclCollective final : public Collective {
 public:
  NcclCollective(const NcclLibrary& nccl, Device& device, const NcclUniqueId& id, NcclCommunicator::Place place)
      : nccl_(nccl), place_(place), communicator_(nccl, device, id, place) {}

  [[nodiscard]] Status connected(Deadline deadline, const AbortSignal& abort) override { return communicator_.wait_until_connected(deadline, abort); }

  [[nodiscard]] Result<std::unique_ptr<Work>> all_gather(std::byte* base, std::span<const std::uint64_t> unit_bytes, DeviceStream* stream) override {
    if (unit_bytes.size() != place_.num_ranks)
      return Status(StatusCode::invalid_argument, Scope::operation, "all-gather of {} units in a group of {}", unit_bytes.size(), place_.num_ranks);
    const bool even = std::all_of(unit_bytes.begin(), unit_bytes.end(), [&](std::uint64_t bytes) { return bytes == unit_bytes[0]; });
    CKPT_RETURN_IF_ERROR(communicator_.call("all-gather", [&](NcclComm comm) {
      return even ? gather_even(base, unit_bytes[0], comm, stream->native()) : gather_uneven(base, unit_bytes, comm, stream->native());
    }));
    return after(*stream);
  }

  [[nodiscard]] Result<std::unique_ptr<Work>> broadcast(std::span<std::byte> buffer, std::uint32_t root, DeviceStream* stream) override {
    if (root >= place_.num_ranks)
      return Status(StatusCode::invalid_argument, Scope::operation, "broadcast from rank {} in a group of {}", root, place_.num_ranks);
    CKPT_RETURN_IF_ERROR(communicator_.call("broadcast", [&](NcclComm comm) {
      return nccl_.broadcast(buffer.data(), buffer.data(), buffer.size(), kNcclUint8, static_cast<int>(root), comm, stream->native());
    }));
    return after(*stream);
  }

  // Memory that engines map by CUDA IPC comes from cuMemAlloc, which NCCL refuses to register: it goes through its own buffers.
  [[nodiscard]] Status register_buffer(std::span<std::byte>, int) override { return communicator_.aborted().check(); }
  void unregister_buffer(std::span<std::byte>) noexcept override {}
  void abort(const Status& reason) noexcept override { communicator_.abort(reason); }
  [[nodiscard]] std::string lane() const override { return "nccl " + nccl_.version_text(); }

 private:
  NcclResult gather_even(std::byte* base, std::uint64_t unit_bytes, NcclComm comm, NcclStream stream) const {
    if (unit_bytes == 0) return NcclResult::success;
    return nccl_.all_gather(base + place_.rank * unit_bytes, base, unit_bytes, kNcclUint8, comm, stream);
  }
  /// One broadcast for each rank that has something, as one operation.
  NcclResult gather_uneven(std::byte* base, std::span<const std::uint64_t> unit_bytes, NcclComm comm, NcclStream stream) const {
    NcclResult first = nccl_.group_start();
    std::byte* at = base;
    for (std::uint32_t rank = 0; rank < place_.num_ranks && first == NcclResult::success; ++rank) {
      if (unit_bytes[rank] > 0) first = queued(nccl_.broadcast(at, at, unit_bytes[rank], kNcclUint8, static_cast<int>(rank), comm, stream));
      at += unit_bytes[rank];
    }
    const NcclResult ended = nccl_.group_end();
    return first != NcclResult::success ? first : ended;
  }
  static NcclResult queued(NcclResult result) { return result == NcclResult::in_progress ? NcclResult::success : result; }

  Result<std::unique_ptr<Work>> after(DeviceStream& stream) {
    CKPT_ASSIGN_OR_RETURN(auto event, stream.record());
    return std::unique_ptr<Work>(std::make_unique<NcclWork>(communicator_, std::move(event)));
  }

  const NcclLibrary& nccl_;
  NcclCommunicator::Place place_;
  NcclCommunicator communicator_;
};

}  // namespace

Result<std::unique_ptr<Collective>> make_nccl_collective(Group& group, Device& device, const NcclOptions& options, Deadline deadline) {
  CKPT_ASSIGN_OR_RETURN(const NcclLibrary* nccl, load_nccl(options.library));
  NcclUniqueId id{};
  Bytes mine;
  if (group.rank() == 0) {
    CKPT_RETURN_IF_ERROR(device.use_on_this_thread());
    const NcclResult result = nccl->get_unique_id(&id);
    if (result != NcclResult::success)
      return Status(StatusCode::internal, Scope::process, "ncclGetUniqueId: {}", nccl->get_error_string(result))
          .advise("NCCL_SOCKET_IFNAME chooses the network interface that it listens on");
    mine = to_bytes(std::string_view(id.bytes.data(), id.bytes.size()));
  }
  CKPT_ASSIGN_OR_RETURN(const std::vector<Bytes> all, group.all_gather("NCCL id", std::move(mine), deadline));
  if (all[0].size() != id.bytes.size()) return Status(StatusCode::data_corruption, Scope::group, "rank 0 sent an NCCL id of {} bytes", all[0].size());
  std::memcpy(id.bytes.data(), all[0].data(), id.bytes.size());
  return std::unique_ptr<Collective>(std::make_unique<NcclCollective>(*nccl, device, id, NcclCommunicator::Place{group.rank(), group.size()}));
}

}  // namespace ckpt
