/// What happened when, on one process: spans of the stages, for the timeline (`--trace`), the closing table and the flight recorder.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/deadline.h"
#include "base/thread_annotations.h"

namespace ckpt {

/// The stages of an update in order. Their names appear in errors, metrics, progress, the closing table and the timeline.
enum class Stage : std::uint8_t { load, gather, plan, connect, fill, exchange, handover, release, commit };
inline constexpr std::size_t kNumStages = 9;
[[nodiscard]] std::string_view name(Stage stage);  ///< "load" … "hand-over" …

/// One span. `what` must be a string literal. `frame` < 0: none.
struct Event {
  Stage stage;
  const char* what;
  std::int64_t frame;
  std::uint64_t bytes;
  std::int64_t begin_ns;  ///< since the epoch of CLOCK_REALTIME, so that the timelines of several processes of one host line up
  std::int64_t end_ns;
  std::uint64_t thread;
};

/// Keeps the last 4096 events always (flight recorder), all of them while `keep_all(true)`. Thread-safe; one short lock an event.
class EventRecorder {
 public:
  static constexpr std::size_t kFlightEvents = 4096;

  [[nodiscard]] static EventRecorder& global();

  void keep_all(bool on) CKPT_EXCLUDES(mutex_);
  void record(const Event& event) CKPT_EXCLUDES(mutex_);
  /// In the order they ended.
  [[nodiscard]] std::vector<Event> events() const CKPT_EXCLUDES(mutex_);
  void clear() CKPT_EXCLUDES(mutex_);
  /// The last `count` events as text lines, for the log when a deadline passed.
  [[nodiscard]] std::string flight_text(std::size_t count) const;

 private:
  mutable Mutex mutex_;
  bool keep_all_ CKPT_GUARDED_BY(mutex_) = false;
  std::vector<Event> events_ CKPT_GUARDED_BY(mutex_);
  std::size_t next_ CKPT_GUARDED_BY(mutex_) = 0;  // oldest event once the ring is full
};

/// Nanoseconds of CLOCK_REALTIME.
[[nodiscard]] std::int64_t wall_time_ns();

/// Records one event from construction to destruction (or `end`).
///   Span span(Stage::fill, "copy", frame);  …  span.add_bytes(n);
class Span {
 public:
  Span(Stage stage, const char* what, std::int64_t frame = -1, EventRecorder& recorder = EventRecorder::global());
  ~Span() { end(); }
  Span(const Span&) = delete;
  Span& operator=(const Span&) = delete;
  void add_bytes(std::uint64_t bytes) { event_.bytes += bytes; }
  void end();

 private:
  Event event_;
  EventRecorder* recorder_;
};

/// The events of one process, as a fragment of a timeline. Fragments travel between ranks as text.
struct ProcessEvents {
  int rank;
  std::string host;
  std::vector<Event> events;
};
[[nodiscard]] std::string trace_fragment(const ProcessEvents& process);
/// Fragments as a Chrome-trace JSON document, which https://ui.perfetto.dev opens: one process a rank, one track a thread.
[[nodiscard]] std::string trace_document(std::span<const std::string> fragments);

}  // namespace ckpt
