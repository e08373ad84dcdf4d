#include "channel/pickle_reader.h"

#include "channel/pickle_opcodes.h"
#include "channel/pickle_stack.h"

namespace ckpt {
namespace {

using Kind = PickleValue::Kind;

/// Python's unpickling machine without its imports and calls: opcode after opcode onto the stack.
class PickleMachine {
 public:
  PickleMachine(std::string_view bytes, const PickleLimits& limits) : bytes_(bytes), stack_(limits) {}

  Result<PickleDocument> run() {
    PickleDocument document;
    for (bool stopped = false; !stopped;) {
      op_offset_ = next_;
      const auto op = static_cast<PickleOp>(number(1));
      if (op_offset_ == 0 && op != PickleOp::proto) stack_.fail("it does not start with PROTO");
      stopped = op == PickleOp::stop;
      if (stopped) {
        document = stack_.finish();
        if (next_ != bytes_.size()) stack_.fail(fmt::format("{} bytes follow the end", bytes_.size() - next_));
      } else {
        step(op);
      }
      if (!stack_.problem().empty()) return Status(StatusCode::data_corruption, Scope::peer, "{} at offset {}", stack_.problem(), op_offset_);
    }
    return document;
  }

 private:
  std::string_view take(std::uint64_t size) {
    if (size > bytes_.size() - next_) {
      stack_.fail("it ends too early");
      return {};
    }
    next_ += size;
    return bytes_.substr(next_ - size, size);
  }
  std::uint64_t number(int width) {  // little-endian
    std::uint64_t value = 0;
    const std::string_view raw = take(static_cast<std::uint64_t>(width));
    for (std::size_t i = 0; i < raw.size(); ++i) value |= std::uint64_t{static_cast<unsigned char>(raw[i])} << (8 * i);
    return value;
  }
  std::string_view line() {
    const std::size_t end = bytes_.find('\n', next_);
    const std::string_view text = take(end == std::string_view::npos ? bytes_.size() : end + 1 - next_);
    return text.substr(0, text.empty() ? 0 : text.size() - 1);
  }
  void integer(int width) { stack_.push_integer(Kind::integer, static_cast<std::int64_t>(number(width))); }

  void step(PickleOp op) {
    switch (op) {
      case PickleOp::proto: return protocol();
      case PickleOp::frame: return frame();
      case PickleOp::none: return stack_.push({});
      case PickleOp::newtrue: return stack_.push_integer(Kind::boolean, 1);
      case PickleOp::newfalse: return stack_.push_integer(Kind::boolean, 0);
      case PickleOp::binint: return stack_.push_long(take(4));
      case PickleOp::binint1: return integer(1);
      case PickleOp::binint2: return integer(2);
      case PickleOp::long1: return stack_.push_long(take(number(1)));
      case PickleOp::binfloat: return stack_.push_float(take(8));
      case PickleOp::short_binunicode: return stack_.push_text(take(number(1)));
      case PickleOp::binunicode: return stack_.push_text(take(number(4)));
      case PickleOp::short_binbytes: return stack_.push_bytes(take(number(1)));
      case PickleOp::binbytes: return stack_.push_bytes(take(number(4)));
      case PickleOp::mark: return stack_.mark();
      case PickleOp::empty_tuple: return stack_.push_items(Kind::tuple, {});
      case PickleOp::tuple1: return stack_.push_items(Kind::tuple, stack_.pop(1));
      case PickleOp::tuple2: return stack_.push_items(Kind::tuple, stack_.pop(2));
      case PickleOp::tuple3: return stack_.push_items(Kind::tuple, stack_.pop(3));
      case PickleOp::tuple: return stack_.push_items(Kind::tuple, stack_.pop_to_mark());
      case PickleOp::empty_list: return stack_.push_items(Kind::list, {});
      case PickleOp::append: return stack_.extend(Kind::list, stack_.pop(1));
      case PickleOp::appends: return stack_.extend(Kind::list, stack_.pop_to_mark());
      case PickleOp::empty_dict: return stack_.push_items(Kind::dict, {});
      case PickleOp::setitem: return stack_.extend(Kind::dict, stack_.pop(2));
      case PickleOp::setitems: return stack_.extend(Kind::dict, stack_.pop_to_mark());
      case PickleOp::global: return global();
      case PickleOp::stack_global: return stack_.push_stack_global();
      case PickleOp::reduce: return stack_.push_call();
      case PickleOp::memoize: return stack_.memoize();
      case PickleOp::binput: return stack_.memoize(number(1));
      case PickleOp::long_binput: return stack_.memoize(number(4));
      case PickleOp::binget: return stack_.recall(number(1));
      case PickleOp::long_binget: return stack_.recall(number(4));
      case PickleOp::stop: return;  // the caller's
    }
    stack_.fail(fmt::format("the opcode {} is refused", pickle_opcode_name(static_cast<unsigned char>(op))));
  }

  void protocol() {
    const std::uint64_t version = number(1);
    if (op_offset_ != 0) stack_.fail("PROTO in the middle");
    if (version < 2 || version > 5) stack_.fail(fmt::format("protocol {} is unknown", version));
  }
  void frame() {
    if (number(8) > bytes_.size() - next_) stack_.fail("a frame ends behind the pickle");
  }
  void global() {
    const std::string_view module = line();
    stack_.push_global(module, line());
  }

  const std::string_view bytes_;
  PickleStack stack_;
  std::size_t next_ = 0;
  std::size_t op_offset_ = 0;
};

}  // namespace

Result<PickleDocument> read_pickle(std::string_view bytes, const PickleLimits& limits) { return PickleMachine(bytes, limits).run(); }

}  // namespace ckpt
