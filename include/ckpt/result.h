/// A value, or the status that says why there is none.
#pragma once

#include <utility>
#include <variant>

#include "ckpt/status.h"

namespace ckpt {

/// Either a T or a Status that is not ok. Reading the value of a failed result is a bug and ends the process.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Status status) : state_(std::in_place_index<1>, std::move(status)) {
    if (std::get<1>(state_).ok()) std::abort();  // ok without a value
  }

  [[nodiscard]] bool ok() const { return state_.index() == 0; }
  [[nodiscard]] Status status() const { return ok() ? Status::success() : std::get<1>(state_); }

  [[nodiscard]] T& value() & { return *get(); }
  [[nodiscard]] const T& value() const& { return *get(); }
  [[nodiscard]] T&& value() && { return std::move(*get()); }
  [[nodiscard]] T& operator*() & { return *get(); }
  [[nodiscard]] const T& operator*() const& { return *get(); }
  [[nodiscard]] T&& operator*() && { return std::move(*get()); }
  [[nodiscard]] T* operator->() { return get(); }
  [[nodiscard]] const T* operator->() const { return get(); }

 private:
  T* get() {
    if (!ok()) std::abort();
    return &std::get<0>(state_);
  }
  const T* get() const {
    if (!ok()) std::abort();
    return &std::get<0>(state_);
  }
  std::variant<T, Status> state_;
};

}  // namespace ckpt

/// `CKPT_ASSIGN_OR_RETURN(auto file, File::open(path));` declares `file`, or returns the error from the enclosing function.
#define CKPT_ASSIGN_OR_RETURN(declaration, expression)                                                \
  auto CKPT_CONCAT(ckpt_result_, __LINE__) = (expression);                                            \
  if (!CKPT_CONCAT(ckpt_result_, __LINE__).ok()) return CKPT_CONCAT(ckpt_result_, __LINE__).status(); \
  declaration = std::move(CKPT_CONCAT(ckpt_result_, __LINE__)).value()
