#include "hostpool/host_pool.h"

#include "base/recorder.h"
#include "hostpool/arena.h"
#include "hostpool/loader.h"

namespace ckpt {
namespace {

class ArenaPool final : public HostPool {
 public:
  explicit ArenaPool(Device& device) : device_(device), store_(std::make_shared<ArenaStore>(device)) {}

  [[nodiscard]] Result<std::unique_ptr<PoolShare>> load(const Checkpoint& checkpoint, const CheckpointLayout& layout, std::uint32_t rank,
                                                        const LoadOptions& options, Deadline deadline, const AbortSignal& abort,
                                                        LoadReport* report) override {
    LoadReport ignored;
    Loader loader(device_, store_, {checkpoint, layout, rank, options, deadline, abort});
    Result<std::unique_ptr<PoolShare>> share = loader.run(report != nullptr ? *report : ignored);
    if (share.ok()) return share;
    return share.status().at_stage(name(Stage::load)).at_rank(static_cast<int>(rank));
  }
  [[nodiscard]] std::uint64_t reserved_bytes() const override { return store_->reserved_bytes(); }
  [[nodiscard]] std::uint32_t num_arenas_made() const override { return store_->num_made(); }
  void free_unused() override { store_->free_unused(); }

 private:
  Device& device_;
  std::shared_ptr<ArenaStore> store_;  // shared with the shares that are out
};

}  // namespace

std::unique_ptr<HostPool> make_host_pool(Device& device) { return std::make_unique<ArenaPool>(device); }

}  // namespace ckpt
