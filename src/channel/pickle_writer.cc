#include "channel/pickle_writer.h"

#include <map>

#include "base/check.h"

namespace ckpt {
namespace {

/// Appends the opcodes of pickletools, by their names there.
class Pickle {
 public:
  Pickle() { out_ = "\x80\x04"; }
  Pickle& op(char opcode) {
    out_ += opcode;
    return *this;
  }
  Pickle& text(std::string_view value) {
    if (value.size() < 256) {
      op('\x8c');  // SHORT_BINUNICODE
      out_ += static_cast<char>(value.size());
    } else {
      op('X');  // BINUNICODE
      little_endian(value.size(), 4);
    }
    out_ += value;
    return *this;
  }
  Pickle& bytes(std::string_view value) {
    CKPT_CHECK(value.size() < 256);
    op('C');  // SHORT_BINBYTES
    out_ += static_cast<char>(value.size());
    out_ += value;
    return *this;
  }
  Pickle& integer(std::uint64_t value) {
    if (value < 0x100) return op('K').little_endian(value, 1);       // BININT1
    if (value < 0x10000) return op('M').little_endian(value, 2);     // BININT2
    if (value < 0x80000000) return op('J').little_endian(value, 4);  // BININT, signed
    int width = 4;
    while (width < 8 && (value >> (8 * width)) != 0) ++width;
    if (((value >> (8 * width - 1)) & 1) != 0) ++width;  // LONG1 is two's complement: a zero byte keeps it positive
    op('\x8a').little_endian(static_cast<std::uint64_t>(width), 1);
    return little_endian(value, width);
  }
  Pickle& global(std::string_view module, std::string_view name) { return text(module).text(name).op('\x93'); }  // STACK_GLOBAL
  /// The same, written out once and referred to afterwards: a worker looks a name up only once a message.
  Pickle& known_text(std::string_view value) {
    return known(std::string(value), [&] { text(value); });
  }
  Pickle& known_global(std::string_view module, std::string_view name) {
    return known(std::string(module) + " " + std::string(name), [&] { global(module, name); });
  }
  /// torch.Size(shape): the global, ((…),), REDUCE.
  Pickle& size(std::span<const std::uint64_t> shape) { return global("torch", "Size").called_with(shape); }
  Pickle& known_size(std::span<const std::uint64_t> shape) { return known_global("torch", "Size").called_with(shape); }
  Pickle& called_with(std::span<const std::uint64_t> shape) {
    if (shape.size() > 3) op('(');  // MARK
    for (const std::uint64_t dimension : shape) integer(dimension);
    constexpr char kTuples[] = {')', '\x85', '\x86', '\x87'};  // EMPTY_TUPLE, TUPLE1 … TUPLE3
    op(shape.size() > 3 ? 't' : kTuples[shape.size()]);
    return op('\x85').op('R');
  }
  [[nodiscard]] std::string finish() {
    op('.');
    return std::move(out_);
  }

 private:
  Pickle& little_endian(std::uint64_t value, int width) {
    for (int i = 0; i < width; ++i) out_ += i < 8 ? static_cast<char>((value >> (8 * i)) & 0xff) : '\0';
    return *this;
  }
  template <typename Write>
  Pickle& known(const std::string& key, const Write& write) {
    const auto [place, fresh] = memo_.emplace(key, memo_.size());
    if (!fresh) return op('h').little_endian(place->second, 1);  // BINGET
    CKPT_CHECK(place->second < 256);
    write();
    return op('\x94');  // MEMOIZE, under the next number
  }
  std::string out_;
  std::map<std::string, std::uint64_t> memo_;
};

}  // namespace

std::string pickle_handle(std::string_view ipc_handle, std::uint64_t bytes) {
  Pickle p;
  const std::uint64_t shape[] = {bytes};
  p.global("torch.multiprocessing.reductions", "rebuild_cuda_tensor").op('(');
  p.global("torch", "Tensor").size(shape).integer(1).op('\x85').integer(0);
  p.global("torch.storage", "TypedStorage").global("torch", "uint8").integer(0);
  p.bytes(ipc_handle).integer(bytes).integer(0).op('\x89');        // requires_grad: False
  p.bytes("").integer(0).bytes("").op('\x89').op('t').op('\x86');  // no reference counter, no event to wait for
  return p.finish();
}

std::string pickle_bucket(std::span<const PlacedTensor> tensors) {
  Pickle p;
  p.op(']').op('(');
  for (const PlacedTensor& tensor : tensors) {
    const Parameter& parameter = *tensor.parameter;
    p.op('}').op('(');
    p.known_text("name").text(parameter.name).known_text("dtype").known_global("torch", torch_name(parameter.dtype));
    p.known_text("shape").known_size(parameter.shape).known_text("offset").integer(tensor.offset_bytes).op('u');
  }
  return p.op('e').finish();
}

std::string pickle_none() { return Pickle().op('N').finish(); }

std::string pickle_abort(std::string_view text) { return Pickle().global("builtins", "RuntimeError").text(text).op('\x85').op('R').finish(); }

}  // namespace ckpt
