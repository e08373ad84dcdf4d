#include "cuda/injected_errors.h"

#include <cstdlib>
#include <sstream>

#include "fake_cuda.h"

namespace ckpt::fake {

bool InjectedErrors::set(const std::string& rules) {
  const std::lock_guard lock(mutex_);
  rules_.clear();
  std::istringstream parts(rules);
  for (std::string part; std::getline(parts, part, ',');) {
    std::istringstream fields(part);
    std::string call;
    std::string error;
    std::string nth;
    std::getline(fields, call, ':');
    std::getline(fields, error, ':');
    std::getline(fields, nth, ':');
    const Rule rule{call, error == "hang" ? kHang : std::atoi(error.c_str()), nth.empty() ? 1 : std::atoi(nth.c_str()), nth.ends_with('+')};
    if (call.empty() || rule.error == 0 || rule.nth < 1) {
      rules_.clear();
      return false;
    }
    rules_.push_back(rule);
  }
  return true;
}

int InjectedErrors::strike(const std::string& call) {
  const std::lock_guard lock(mutex_);
  int error = 0;
  for (Rule& rule : rules_) {
    if (rule.call != call) continue;
    ++rule.passes;
    if (rule.passes == rule.nth || (rule.and_later && rule.passes > rule.nth)) error = rule.error;
  }
  return error;
}

}  // namespace ckpt::fake
