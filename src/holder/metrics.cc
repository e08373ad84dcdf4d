#include "holder/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include "base/thread_annotations.h"

namespace ckpt {
namespace {

const prometheus::Histogram::BucketBoundaries kSeconds{0.001, 0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300};

}  // namespace

struct HolderMetrics::Families {
  prometheus::Registry registry;
  prometheus::Family<prometheus::Counter>& updates =
      prometheus::BuildCounter().Name("ckpt_engine_updates_total").Help("Updates by outcome.").Register(registry);
  prometheus::Histogram& update_seconds = prometheus::BuildHistogram()
                                              .Name("ckpt_engine_update_seconds")
                                              .Help("Whole updates, from the call to the reply.")
                                              .Register(registry)
                                              .Add({}, kSeconds);
  prometheus::Family<prometheus::Histogram>& stages =
      prometheus::BuildHistogram().Name("ckpt_engine_stage_seconds").Help("Stages of updates; all but commit once a worker.").Register(registry);
  prometheus::Counter& bytes =
      prometheus::BuildCounter().Name("ckpt_engine_received_bytes_total").Help("Bytes of weights staged by all workers.").Register(registry).Add({});
  prometheus::Counter& lost = prometheus::BuildCounter()
                                  .Name("ckpt_engine_workers_lost_total")
                                  .Help("Worker processes that ended or fell silent.")
                                  .Register(registry)
                                  .Add({});
  prometheus::Family<prometheus::Gauge>& weights =
      prometheus::BuildGauge().Name("ckpt_engine_weights_info").Help("1 for the version in place and its state.").Register(registry);
  Mutex mutex;
  prometheus::Gauge* shown CKPT_GUARDED_BY(mutex) = nullptr;
};

HolderMetrics::HolderMetrics() : families_(std::make_unique<Families>()) {}
HolderMetrics::~HolderMetrics() = default;

void HolderMetrics::update_ended(std::string_view outcome, double seconds) {
  families_->updates.Add({{"outcome", std::string(outcome)}}).Increment();
  families_->update_seconds.Observe(seconds);
}

void HolderMetrics::stage_ended(std::string_view stage, double seconds) {
  families_->stages.Add({{"stage", std::string(stage)}}, kSeconds).Observe(seconds);
}

void HolderMetrics::weights_received(std::uint64_t bytes) { families_->bytes.Increment(static_cast<double>(bytes)); }

void HolderMetrics::worker_lost() { families_->lost.Increment(); }

void HolderMetrics::show_weights(const std::optional<std::string>& version, std::string_view state) {
  const MutexLock lock(families_->mutex);
  if (families_->shown != nullptr) families_->weights.Remove(families_->shown);
  families_->shown = &families_->weights.Add({{"version", version.value_or("")}, {"state", std::string(state)}});
  families_->shown->Set(1);
}

std::string HolderMetrics::text() const { return prometheus::TextSerializer().Serialize(families_->registry.Collect()); }

}  // namespace ckpt
