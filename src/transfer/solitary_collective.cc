#include "transfer/collective.h"

namespace ckpt {
namespace {

class DoneWork final : public Work {
 public:
  [[nodiscard]] Status wait(Deadline, const AbortSignal& abort) override { return abort.check(); }
  [[nodiscard]] bool done() const override { return true; }
};

/// A group of one already has everything.
class SolitaryCollective final : public Collective {
 public:
  [[nodiscard]] Result<std::unique_ptr<Work>> all_gather(std::byte*, std::span<const std::uint64_t> unit_bytes, DeviceStream*) override {
    CKPT_RETURN_IF_ERROR(aborted_.check());
    if (unit_bytes.size() != 1)
      return Status(StatusCode::invalid_argument, Scope::operation, "all-gather of {} units in a group of one", unit_bytes.size());
    return std::unique_ptr<Work>(std::make_unique<DoneWork>());
  }
  [[nodiscard]] Result<std::unique_ptr<Work>> broadcast(std::span<std::byte>, std::uint32_t root, DeviceStream*) override {
    CKPT_RETURN_IF_ERROR(aborted_.check());
    if (root != 0) return Status(StatusCode::invalid_argument, Scope::operation, "broadcast from rank {} in a group of one", root);
    return std::unique_ptr<Work>(std::make_unique<DoneWork>());
  }
  [[nodiscard]] Status register_buffer(std::span<std::byte>) override { return aborted_.check(); }
  void unregister_buffer(std::span<std::byte>) noexcept override {}
  void abort(const Status& reason) noexcept override { aborted_.trigger(reason); }
  [[nodiscard]] std::string lane() const override { return "none"; }

 private:
  AbortSignal aborted_;
};

}  // namespace

std::unique_ptr<Collective> solitary_collective() { return std::make_unique<SolitaryCollective>(); }

}  // namespace ckpt
