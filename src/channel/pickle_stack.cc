#include "channel/pickle_stack.h"

#include <algorithm>
#include <bit>

#include "channel/peer_text.h"
#include "channel/pickle_globals.h"

namespace ckpt {

void PickleStack::fail(std::string problem) {
  if (problem_.empty()) problem_ = std::move(problem);
}

void PickleStack::push(PickleValue value) {
  if (document_.values.size() >= limits_.max_values) return fail(fmt::format("there are more than {} values", limits_.max_values));
  stack_.push_back(static_cast<PickleIndex>(document_.values.size()));
  document_.values.push_back(std::move(value));
}

void PickleStack::push_long(std::string_view raw) {
  if (raw.size() > 8) return fail("an integer has more than 64 bits");
  std::uint64_t value = !raw.empty() && static_cast<signed char>(raw.back()) < 0 ? ~std::uint64_t{0} : 0;
  for (std::size_t i = raw.size(); i-- > 0;) value = value << 8 | static_cast<unsigned char>(raw[i]);
  push_integer(Kind::integer, static_cast<std::int64_t>(value));
}

void PickleStack::push_float(std::string_view raw) {
  std::uint64_t value = 0;
  for (const char byte : raw) value = value << 8 | static_cast<unsigned char>(byte);
  push({Kind::floating, 0, std::bit_cast<double>(value), {}, {}, {}});
}

void PickleStack::push_text(std::string_view value) {
  if (!is_utf8(value)) return fail("a text is no UTF-8");
  push({Kind::text, 0, 0, value, {}, {}});
}

void PickleStack::push_global(std::string_view module, std::string_view name) {
  if (pickle_global(module, name) == PickleGlobal::refused)
    return fail(fmt::format("the name {}.{} is refused", peer_text(module, 100), peer_text(name, 100)));
  push({Kind::global, 0, 0, name, module, {}});
}

void PickleStack::push_stack_global() {
  const Items names = pop(2);
  if (names.empty()) return;
  const PickleValue& module = document_.at(names[0]);
  const PickleValue& name = document_.at(names[1]);
  if (module.kind != Kind::text || name.kind != Kind::text) return fail("a name is no text");
  push_global(module.text, name.text);
}

void PickleStack::push_call() {
  Items parts = pop(2);
  if (parts.empty()) return;
  const PickleValue& callee = document_.at(parts[0]);
  const PickleValue& arguments = document_.at(parts[1]);
  const PickleGlobal global = callee.kind == Kind::global ? pickle_global(callee.module, callee.text) : PickleGlobal::refused;
  const bool raised = global == PickleGlobal::exception && arguments.kind == Kind::tuple;
  const bool sized = global == PickleGlobal::size && arguments.kind == Kind::tuple && arguments.items.size() == 1 && is_shape(arguments.items[0]);
  if (!raised && !sized) return fail("REDUCE of something that is neither an exception nor torch.Size of a tuple");
  push_items(Kind::call, std::move(parts));
}

bool PickleStack::is_shape(PickleIndex index) const {
  const PickleValue& shape = document_.at(index);
  const auto is_dimension = [this](PickleIndex item) { return document_.at(item).kind == Kind::integer && document_.at(item).integer >= 0; };
  return shape.kind == Kind::tuple && std::all_of(shape.items.begin(), shape.items.end(), is_dimension);
}

PickleStack::Items PickleStack::pop(std::size_t count) {
  if (stack_.size() - floor() < count) {
    fail("the stack is empty");
    return {};
  }
  Items items(stack_.end() - static_cast<std::ptrdiff_t>(count), stack_.end());
  stack_.resize(stack_.size() - count);
  return items;
}

PickleStack::Items PickleStack::pop_to_mark() {
  if (marks_.empty()) {
    fail("there is no MARK");
    return {};
  }
  Items items = pop(stack_.size() - marks_.back());
  marks_.pop_back();
  return items;
}

void PickleStack::extend(Kind kind, const Items& items) {
  if (stack_.size() <= floor() || document_.at(stack_.back()).kind != kind) return fail("what is added to is no list or dict");
  if (kind == Kind::dict && items.size() % 2 != 0) return fail("a key has no value");
  Items& into = document_.values[stack_.back()].items;
  into.insert(into.end(), items.begin(), items.end());
}

void PickleStack::memoize(std::uint64_t place) {
  if (stack_.size() <= floor()) return fail("the stack is empty");
  if (place > memo_.size()) return fail("a memo's number is out of order");
  if (place == memo_.size()) memo_.push_back(stack_.back());
  memo_[place] = stack_.back();
}

void PickleStack::recall(std::uint64_t place) {
  if (place >= memo_.size()) return fail("a memo is not there");
  stack_.push_back(memo_[place]);
}

PickleDocument PickleStack::finish() {
  const Items last = pop(1);
  if (last.empty()) return {};
  document_.root = last[0];
  if (!stack_.empty() || !marks_.empty()) fail("values are left over");
  heights_.assign(document_.values.size(), 0);
  if (height(document_.root, limits_.max_depth) < 0) fail(fmt::format("values lie deeper than {}, or in a circle", limits_.max_depth));
  return std::move(document_);
}

/// Levels from `index` down, at least 1; -1 when there are more than `allowed`. A circle has no end of levels.
int PickleStack::height(PickleIndex index, int allowed) {
  if (heights_[index] != 0) return heights_[index] <= allowed ? heights_[index] : -1;
  if (allowed == 0) return -1;
  int deepest = 0;
  for (const PickleIndex item : document_.at(index).items) {
    const int below = height(item, allowed - 1);
    if (below < 0) return -1;
    deepest = std::max(deepest, below);
  }
  return heights_[index] = deepest + 1;
}

}  // namespace ckpt
