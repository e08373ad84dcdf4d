/// Errors on demand: the rules of CKPT_FAKE_CUDA_FAIL, and the count of passes through each call.
#pragma once

#include <mutex>
#include <string>
#include <vector>

namespace ckpt::fake {

/// Thread-safe.
class InjectedErrors {
 public:
  /// Replaces the rules and starts counting anew. False when `rules` cannot be read: then there are none.
  bool set(const std::string& rules);
  /// Counts a pass of `call`. 0: it does what it should; kHang; or the number of the error.
  int strike(const std::string& call);

 private:
  struct Rule {
    std::string call;
    int error;
    int nth;
    bool and_later;
    int passes = 0;
  };
  std::mutex mutex_;
  std::vector<Rule> rules_;
};

}  // namespace ckpt::fake
