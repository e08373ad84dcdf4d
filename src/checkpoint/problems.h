/// What is wrong with a checkpoint: the first problem for those who need it whole, all of them for `inspect`.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "ckpt/result.h"

namespace ckpt {

/// data_corruption: the bytes of a checkpoint are not what they must be.
[[nodiscard]] inline Status corrupt(std::string text) { return Status::of(StatusCode::data_corruption, Scope::operation, std::move(text)); }

/// Up to `most` problems (≥ 1) in the order found. Whoever adds goes on while it is not full.
class ProblemList {
 public:
  explicit ProblemList(std::size_t most) : most_(most) {}

  void add(Status problem) {
    if (!problem.ok() && !full()) problems_.push_back(std::move(problem));
  }
  [[nodiscard]] bool full() const { return problems_.size() >= most_; }
  [[nodiscard]] bool empty() const { return problems_.empty(); }
  [[nodiscard]] std::size_t room() const { return most_ - problems_.size(); }
  [[nodiscard]] const std::vector<Status>& all() const { return problems_; }
  [[nodiscard]] Status first() const { return empty() ? Status::success() : problems_.front(); }

 private:
  std::size_t most_;
  std::vector<Status> problems_;
};

}  // namespace ckpt
