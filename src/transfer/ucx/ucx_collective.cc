#include "transfer/ucx/ucx_collective.h"

#include <algorithm>

#include "transfer/ucx/ucx_carrier.h"
#include "transfer/ucx/ucx_work.h"

namespace ckpt {
namespace {

constexpr std::uint64_t kMaxChunks = std::uint64_t{1} << 24;  // the bits of a tag: 26 operation, 24 chunk, 12 sender

class UcxCollective final : public Collective {
 public:
  UcxCollective(const Group& group, std::uint64_t chunk_bytes) : rank_(group.rank()), num_ranks_(group.size()), chunk_bytes_(chunk_bytes) {}

  Status connect(Group& group, const UcxOptions& options, Deadline deadline) { return carrier_.connect(group, options, deadline); }

  /// Pairwise: every rank takes each unit from the rank that has it, so that each byte is copied once, by its receiver.
  [[nodiscard]] Result<std::unique_ptr<Work>> all_gather(std::byte* base, std::span<const std::uint64_t> unit_bytes, DeviceStream*) override {
    CKPT_RETURN_IF_ERROR(carrier_.aborted());
    if (unit_bytes.size() != num_ranks_)
      return Status(StatusCode::invalid_argument, Scope::operation, "all-gather of {} units in a group of {}", unit_bytes.size(), num_ranks_);
    const std::uint64_t own_bytes = unit_bytes[rank_];
    std::vector<UcxTransfer> transfers;
    for (std::uint32_t step = 1; step < num_ranks_; ++step) {
      const std::uint32_t from = (rank_ + num_ranks_ - step) % num_ranks_;
      const std::uint32_t to = (rank_ + step) % num_ranks_;
      if (unit_bytes[from] > 0) transfers.push_back({true, from, tag(0, from), base + offset_of(unit_bytes, from), unit_bytes[from], {}});
      if (own_bytes > 0) transfers.push_back({false, to, tag(0, rank_), base + offset_of(unit_bytes, rank_), own_bytes, {}});
    }
    const auto work = std::make_shared<UcxWork>(transfers.size());
    for (UcxTransfer& transfer : transfers) transfer.ended = [work](const Status& status) { work->transfer_ended(status); };
    return start(work, std::move(transfers));
  }

  /// A chain from the root on: each rank passes a chunk on as soon as it has it.
  [[nodiscard]] Result<std::unique_ptr<Work>> broadcast(std::span<std::byte> buffer, std::uint32_t root, DeviceStream*) override {
    CKPT_RETURN_IF_ERROR(carrier_.aborted());
    const std::uint64_t num_chunks = (buffer.size() + chunk_bytes_ - 1) / chunk_bytes_;
    if (root >= num_ranks_ || num_chunks > kMaxChunks)
      return Status(StatusCode::invalid_argument, Scope::operation, "broadcast of {} bytes from rank {} in a group of {}", buffer.size(), root,
                    num_ranks_);
    const std::uint32_t place = (rank_ + num_ranks_ - root) % num_ranks_;
    const bool receives = place > 0;
    const bool sends = place + 1 < num_ranks_;
    const auto work = std::make_shared<UcxWork>(num_chunks * ((receives ? 1u : 0u) + (sends ? 1u : 0u)));
    std::vector<UcxTransfer> transfers;
    for (std::uint64_t chunk = 0; chunk < num_chunks; ++chunk) {
      std::byte* at = buffer.data() + chunk * chunk_bytes_;
      const std::uint64_t bytes = std::min<std::uint64_t>(chunk_bytes_, buffer.size() - chunk * chunk_bytes_);
      const UcxTransfer send{false, (rank_ + 1) % num_ranks_, tag(chunk, rank_), at, bytes, [work](const Status& s) { work->transfer_ended(s); }};
      const std::uint32_t previous = (rank_ + num_ranks_ - 1) % num_ranks_;
      if (receives) transfers.push_back({true, previous, tag(chunk, previous), at, bytes, sends ? pass_on(send, work) : send.ended});
      if (!receives && sends) transfers.push_back(send);
    }
    return start(work, std::move(transfers));
  }

  [[nodiscard]] Status register_buffer(std::span<std::byte> buffer, int fd) override { return carrier_.register_buffer(buffer, fd); }
  void unregister_buffer(std::span<std::byte> buffer) noexcept override { carrier_.unregister_buffer(buffer); }
  void abort(const Status& reason) noexcept override { carrier_.abort(reason); }
  [[nodiscard]] std::string lane() const override { return carrier_.lane(); }

 private:
  static std::uint64_t offset_of(std::span<const std::uint64_t> unit_bytes, std::uint32_t rank) {
    std::uint64_t offset = 0;
    for (std::uint32_t r = 0; r < rank; ++r) offset += unit_bytes[r];
    return offset;
  }
  /// Operations are numbered alike on all ranks, since all start them in the same order.
  [[nodiscard]] std::uint64_t tag(std::uint64_t chunk, std::uint32_t sender) const { return (sequence_ << 36) | (chunk << 12) | sender; }

  /// What follows a receive in the chain: the send of the same chunk.
  std::function<void(const Status&)> pass_on(UcxTransfer send, std::shared_ptr<UcxWork> work) {
    return [this, send = std::move(send), work = std::move(work)](const Status& status) {
      if (status.ok())
        carrier_.start({send});
      else
        work->transfer_ended(status);  // the send that will not be
      work->transfer_ended(status);
    };
  }

  Result<std::unique_ptr<Work>> start(std::shared_ptr<UcxWork> work, std::vector<UcxTransfer> transfers) {
    sequence_ = (sequence_ + 1) % (std::uint64_t{1} << 26);
    carrier_.start(std::move(transfers));
    return std::unique_ptr<Work>(std::make_unique<SharedUcxWork>(std::move(work)));
  }

  UcxCarrier carrier_;
  std::uint32_t rank_;
  std::uint32_t num_ranks_;
  std::uint64_t chunk_bytes_;
  std::uint64_t sequence_ = 0;
};

}  // namespace

Result<std::unique_ptr<Collective>> make_ucx_collective(Group& group, const UcxOptions& options, Deadline deadline) {
  if (group.size() > kMaxRanks)
    return Status(StatusCode::unsupported, Scope::group, "{} ranks: at most {} exchange bytes over UCX", group.size(), kMaxRanks);
  auto collective = std::make_unique<UcxCollective>(group, std::max<std::uint64_t>(options.chunk_bytes, 4096));
  CKPT_RETURN_IF_ERROR(collective->connect(group, options, deadline));
  return std::unique_ptr<Collective>(std::move(collective));
}

}  // namespace ckpt
