#include "base/recorder.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <ctime>
#include <iterator>

#include "ckpt/status.h"

namespace ckpt {
namespace {

constexpr std::array<std::string_view, kNumStages> kStageNames{"load",     "gather",    "plan",    "connect", "fill",
                                                               "exchange", "hand-over", "release", "commit"};

std::uint64_t thread_id() {
  thread_local const auto id = static_cast<std::uint64_t>(::syscall(SYS_gettid));
  return id;
}

}  // namespace

std::string_view name(Stage stage) { return kStageNames[static_cast<std::size_t>(stage)]; }

std::int64_t wall_time_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

EventRecorder& EventRecorder::global() {
  static EventRecorder recorder;
  return recorder;
}

void EventRecorder::keep_all(bool on) {
  const MutexLock lock(mutex_);
  keep_all_ = on;
}

void EventRecorder::record(const Event& event) {
  const MutexLock lock(mutex_);
  if (keep_all_ || events_.size() < kFlightEvents) {
    events_.push_back(event);
    return;
  }
  events_[next_] = event;
  next_ = (next_ + 1) % events_.size();
}

std::vector<Event> EventRecorder::events() const {
  const MutexLock lock(mutex_);
  std::vector<Event> ordered(events_.begin() + static_cast<std::ptrdiff_t>(next_), events_.end());
  ordered.insert(ordered.end(), events_.begin(), events_.begin() + static_cast<std::ptrdiff_t>(next_));
  return ordered;
}

void EventRecorder::clear() {
  const MutexLock lock(mutex_);
  events_.clear();
  next_ = 0;
}

std::string EventRecorder::flight_text(std::size_t count) const {
  const std::vector<Event> all = events();
  const std::size_t first = all.size() > count ? all.size() - count : 0;
  std::string text;
  for (std::size_t i = first; i < all.size(); ++i) {
    const Event& e = all[i];
    text += fmt::format("  {}.{:06} {} {}", e.begin_ns / 1'000'000'000, e.begin_ns % 1'000'000'000 / 1000, name(e.stage), e.what);
    if (e.frame >= 0) text += fmt::format(" frame {}", e.frame);
    text += fmt::format(" {} bytes {}\n", e.bytes, format_duration(Duration(e.end_ns - e.begin_ns)));
  }
  return text;
}

Span::Span(Stage stage, const char* what, std::int64_t frame, EventRecorder& recorder)
    : event_{stage, what, frame, 0, wall_time_ns(), 0, thread_id()}, recorder_(&recorder) {}

void Span::end() {
  if (recorder_ == nullptr) return;
  event_.end_ns = wall_time_ns();
  recorder_->record(event_);
  recorder_ = nullptr;
}

std::string trace_fragment(const ProcessEvents& process) {
  // Names are literals of ours and host names: nothing in them needs escaping but the quote and the backslash, which are dropped.
  std::string host;
  for (const char c : process.host)
    if (c != '"' && c != '\\' && static_cast<unsigned char>(c) >= 0x20) host += c;
  std::string out =
      fmt::format("{{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":{0},\"args\":{{\"name\":\"rank {0} on {1}\"}}}}", process.rank, host);
  for (const Event& e : process.events)
    fmt::format_to(std::back_inserter(out),
                   ",\n{{\"ph\":\"X\",\"cat\":\"{0}\",\"name\":\"{0}: "
                   "{1}\",\"pid\":{2},\"tid\":{3},\"ts\":{4:.3f},\"dur\":{5:.3f},\"args\":{{\"frame\":{6},\"bytes\":{7}}}}}",
                   name(e.stage), e.what, process.rank, e.thread, static_cast<double>(e.begin_ns) / 1e3,
                   static_cast<double>(e.end_ns - e.begin_ns) / 1e3, e.frame, e.bytes);
  return out;
}

std::string trace_document(std::span<const std::string> fragments) {
  std::string out = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n";
  for (std::size_t i = 0; i < fragments.size(); ++i) out += (i > 0 ? ",\n" : "") + fragments[i];
  return out + "\n]}\n";
}

}  // namespace ckpt
