#include "base/fault_point.h"

#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cmath>
#include <csignal>
#include <thread>
#include <vector>

#include "base/log.h"
#include "base/options.h"
#include "base/thread_annotations.h"

namespace ckpt {
namespace {

struct Rule {
  std::string point;
  std::uint64_t nth = 1;
  std::string action;
  std::uint64_t passes = 0;
};

class FaultRules {
 public:
  FaultRules() {
    const auto rank = environment("CKPT_FAULT_RANK");
    if (rank && environment("RANK") != rank) return;
    if (const auto text = environment("CKPT_FAULT"))
      if (const Status status = parse(*text); !status.ok()) log_error("CKPT_FAULT: {}", status.message());
  }

  Status parse(std::string_view text) CKPT_EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    rules_.clear();
    system_passes_ = 0;
    while (!text.empty()) {
      const std::size_t comma = text.find(',');
      const std::string_view one = text.substr(0, comma);
      text = comma == std::string_view::npos ? std::string_view{} : text.substr(comma + 1);
      const std::size_t first = one.find(':');
      const std::size_t second = first == std::string_view::npos ? first : one.find(':', first + 1);
      Rule rule;
      if (second == std::string_view::npos) return bad(one);
      const std::string_view nth = one.substr(first + 1, second - first - 1);
      if (std::from_chars(nth.data(), nth.data() + nth.size(), rule.nth).ec != std::errc{}) return bad(one);
      rule.point = one.substr(0, first);
      rule.action = one.substr(second + 1);
      rules_.push_back(std::move(rule));
    }
    return Status::success();
  }

  /// The action that is due at this pass, or nothing.
  std::string due(std::string_view point) CKPT_EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    const bool system = point.starts_with("sys.");
    if (system) ++system_passes_;
    for (Rule& rule : rules_)
      if ((rule.point == point || (rule.point == "*" && system)) && ++rule.passes == rule.nth) return rule.action;
    return {};
  }

  std::uint64_t system_passes() CKPT_EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    return system_passes_;
  }

 private:
  static Status bad(std::string_view rule) {
    return {StatusCode::invalid_argument, Scope::operation, "fault rule \"{}\" is not of the form POINT:NTH:ACTION", rule};
  }
  Mutex mutex_;
  std::vector<Rule> rules_ CKPT_GUARDED_BY(mutex_);
  std::uint64_t system_passes_ CKPT_GUARDED_BY(mutex_) = 0;
};

FaultRules& rules() {
  static FaultRules instance;
  return instance;
}

Status act(std::string_view point, std::string_view action) {
  if (action.starts_with("once=")) {
    const std::size_t end = action.find(';');
    const std::string file(action.substr(5, end == std::string_view::npos ? end : end - 5));
    const int fd = ::open(file.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0 || end == std::string_view::npos) return Status::success();
    ::close(fd);
    action = action.substr(end + 1);
  }
  if (action == "kill") ::raise(SIGKILL);
  if (action == "stop") ::raise(SIGSTOP);
  if (action.starts_with("sleep=")) {
    double duration_s = 0;
    std::from_chars(action.data() + 6, action.data() + action.size(), duration_s);
    std::this_thread::sleep_for(std::chrono::duration<double>(duration_s));
  }
  if (action == "error") return {StatusCode::internal, Scope::operation, "injected fault at {}", point};
  return Status::success();
}

}  // namespace

Status fault_point(const char* point) {
  const std::string action = rules().due(point);
  return action.empty() ? Status::success() : act(point, action);
}

std::uint64_t fault_point_passes() { return rules().system_passes(); }
Status set_fault_rules(std::string_view text) { return rules().parse(text); }

}  // namespace ckpt
