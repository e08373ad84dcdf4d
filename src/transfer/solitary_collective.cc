#include "transfer/collective.h"

namespace ckpt {
namespace {

class DoneWork final : public Work {
 public:
  [[nodiscard]] Status wait(Deadline, const AbortSignal& abort) override { return abort.check(); }
  [[nodiscard]] bool done() const override { return true; }
};

/// The rank's own work before it on a device.
class OwnWork final : public Work {
 public:
  explicit OwnWork(std::unique_ptr<DeviceEvent> event) : event_(std::move(event)) {}
  [[nodiscard]] Status wait(Deadline deadline, const AbortSignal& abort) override { return event_->wait(deadline, abort); }
  [[nodiscard]] bool done() const override {
    const Result<bool> now = event_->done();
    return !now.ok() || *now;
  }
  [[nodiscard]] std::optional<std::int64_t> ended_at_ns() const override { return event_->reached_at_ns(); }

 private:
  std::unique_ptr<DeviceEvent> event_;
};

/// A group of one already has everything, once its own work before it is done.
class SolitaryCollective final : public Collective {
 public:
  [[nodiscard]] Result<std::unique_ptr<Work>> all_gather(std::byte*, std::span<const std::uint64_t> unit_bytes, DeviceStream* stream) override {
    CKPT_RETURN_IF_ERROR(aborted_.check());
    if (unit_bytes.size() != 1)
      return Status(StatusCode::invalid_argument, Scope::operation, "all-gather of {} units in a group of one", unit_bytes.size());
    return after(stream);
  }
  [[nodiscard]] Result<std::unique_ptr<Work>> broadcast(std::span<std::byte>, std::uint32_t root, DeviceStream* stream) override {
    CKPT_RETURN_IF_ERROR(aborted_.check());
    if (root != 0) return Status(StatusCode::invalid_argument, Scope::operation, "broadcast from rank {} in a group of one", root);
    return after(stream);
  }
  [[nodiscard]] Status register_buffer(std::span<std::byte>, int) override { return aborted_.check(); }
  void unregister_buffer(std::span<std::byte>) noexcept override {}
  void abort(const Status& reason) noexcept override { aborted_.trigger(reason); }
  [[nodiscard]] std::string lane() const override { return "none"; }

 private:
  static Result<std::unique_ptr<Work>> after(DeviceStream* stream) {
    if (stream == nullptr) return std::unique_ptr<Work>(std::make_unique<DoneWork>());
    CKPT_ASSIGN_OR_RETURN(auto event, stream->record());
    return std::unique_ptr<Work>(std::make_unique<OwnWork>(std::move(event)));
  }
  AbortSignal aborted_;
};

}  // namespace

std::unique_ptr<Collective> solitary_collective() { return std::make_unique<SolitaryCollective>(); }

}  // namespace ckpt
