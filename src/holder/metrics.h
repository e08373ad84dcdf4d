/// Counters and histograms of a weight-holding engine, as Prometheus reads them under /metrics.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/deadline.h"

namespace ckpt {

/// Thread-safe.
class HolderMetrics {
 public:
  HolderMetrics();
  ~HolderMetrics();
  HolderMetrics(const HolderMetrics&) = delete;
  HolderMetrics& operator=(const HolderMetrics&) = delete;

  /// `outcome`: "ok", or the name of the status code it ended with.
  void update_ended(std::string_view outcome, double seconds);
  /// `stage`: receive, apply, prepare (one observation a worker) or commit.
  void stage_ended(std::string_view stage, double seconds);
  void weights_received(std::uint64_t bytes);
  void worker_lost();
  /// The series of the version before disappears.
  void show_weights(const std::optional<std::string>& version, std::string_view state);

  [[nodiscard]] std::string text() const;

 private:
  struct Families;  // keeps the library's headers in one source
  const std::unique_ptr<Families> families_;
};

}  // namespace ckpt
