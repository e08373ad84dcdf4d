#include "channel/sender_pickle.h"

#include <algorithm>
#include <optional>

#include "channel/pickle_globals.h"
#include "channel/pickle_reader.h"
#include "channel/pickle_text.h"

namespace ckpt {
namespace {

using Kind = PickleValue::Kind;

/// A tensor of a bucket takes some ten values.
constexpr PickleLimits kSenderLimits{8'000'000, 32};

Status misfit(std::string_view what) { return {StatusCode::data_corruption, Scope::peer, "pickle of the sender: {}", what}; }

/// Typed looks at a document's values; after the first that does not fit, `ok` is false and everything reads as zero.
class PickleFields {
 public:
  explicit PickleFields(const PickleDocument& document) : document_(document) {}
  [[nodiscard]] bool ok() const { return ok_; }

  const PickleValue& of_kind(PickleIndex index, Kind kind) {
    static const PickleValue kNothing;
    const PickleValue& value = document_.at(index);
    if (value.kind != kind) ok_ = false;
    return ok_ ? value : kNothing;
  }
  std::int64_t integer(PickleIndex index) { return of_kind(index, Kind::integer).integer; }
  std::uint64_t number(PickleIndex index) {
    const std::int64_t value = integer(index);
    if (value < 0) ok_ = false;
    return ok_ ? static_cast<std::uint64_t>(value) : 0;
  }
  bool boolean(PickleIndex index) { return of_kind(index, Kind::boolean).integer != 0; }
  std::string bytes(PickleIndex index) { return std::string(of_kind(index, Kind::bytes).text); }
  void expect_global(PickleIndex index, std::string_view module, std::string_view name) {
    const PickleValue& value = of_kind(index, Kind::global);
    if (value.module != module || value.text != name) ok_ = false;
  }
  DType dtype(PickleIndex index) {
    const PickleValue& value = of_kind(index, Kind::global);
    const auto dtype = value.module == "torch" ? dtype_from_torch_name(value.text) : std::nullopt;
    if (!dtype) ok_ = false;
    return dtype.value_or(DType::U8);
  }
  /// torch.Size((…)), a tuple or a list.
  std::vector<std::uint64_t> shape(PickleIndex index) {
    const PickleValue* value = &document_.at(index);
    if (value->kind == Kind::call) {
      expect_global(value->items[0], "torch", "Size");
      if (!ok_) return {};
      value = &document_.at(document_.at(value->items[1]).items[0]);  // of one tuple: the reader takes nothing else
    } else if (value->kind != Kind::tuple && value->kind != Kind::list) {
      ok_ = false;
    }
    std::vector<std::uint64_t> sizes;
    for (std::size_t i = 0; ok_ && i < value->items.size(); ++i) sizes.push_back(number(value->items[i]));
    return sizes;
  }

 private:
  const PickleDocument& document_;
  bool ok_ = true;
};

Result<SenderPickle> read_handle(const PickleDocument& document) {
  PickleFields in(document);
  const auto& pair = document.at(document.root).items;
  const Status no_handle = misfit("a tuple that is not (rebuild_cuda_tensor, its 15 arguments) of a flat uint8 tensor");
  if (pair.size() != 2) return no_handle;
  in.expect_global(pair[0], "torch.multiprocessing.reductions", "rebuild_cuda_tensor");
  const auto& args = in.of_kind(pair[1], Kind::tuple).items;
  if (!in.ok() || args.size() != 15) return no_handle;
  PickledHandle handle;
  in.expect_global(args[0], "torch", "Tensor");
  const std::vector<std::uint64_t> size = in.shape(args[1]);
  const std::vector<std::uint64_t> stride = in.shape(args[2]);
  handle.tensor_offset = in.number(args[3]);
  in.expect_global(args[4], "torch.storage", "TypedStorage");
  in.expect_global(args[5], "torch", "uint8");
  handle.storage_device = document.at(args[6]).kind == Kind::text ? -1 : in.integer(args[6]);
  handle.storage_handle = in.bytes(args[7]);
  handle.storage_size_bytes = in.number(args[8]);
  handle.storage_offset_bytes = in.number(args[9]);
  handle.requires_grad = in.boolean(args[10]);
  handle.ref_counter_handle = in.bytes(args[11]);
  handle.ref_counter_offset = in.number(args[12]);
  handle.event_handle = in.bytes(args[13]);
  handle.event_sync_required = in.boolean(args[14]);
  if (!in.ok() || size.size() != 1 || stride != std::vector<std::uint64_t>{1}) return no_handle;
  handle.bytes = size[0];
  if (handle.tensor_offset > handle.storage_size_bytes || handle.bytes > handle.storage_size_bytes - handle.tensor_offset)
    return misfit(fmt::format("a tensor of {} bytes at {} in a storage of {}", handle.bytes, handle.tensor_offset, handle.storage_size_bytes));
  return SenderPickle(std::move(handle));
}

/// Keys that are not known are passed over: whatever they hold, it is only data.
Result<NativeTensor> read_pickled_tensor(const PickleDocument& document, PickleIndex index) {
  PickleFields in(document);
  std::optional<PickleIndex> name;
  std::optional<PickleIndex> dtype;
  std::optional<PickleIndex> shape;
  std::optional<PickleIndex> offset;
  const auto& items = in.of_kind(index, Kind::dict).items;
  for (std::size_t i = 0; i + 1 < items.size(); i += 2) {
    const PickleValue& key = document.at(items[i]);
    if (key.kind != Kind::text) continue;
    if (key.text == "name") name = items[i + 1];
    if (key.text == "dtype") dtype = items[i + 1];
    if (key.text == "shape") shape = items[i + 1];
    if (key.text == "offset") offset = items[i + 1];
  }
  if (!name || !dtype || !shape || !offset) return misfit("a tensor of a bucket is no dict with name, dtype, shape and offset");
  NativeTensor tensor{{std::string(in.of_kind(*name, Kind::text).text), in.dtype(*dtype), in.shape(*shape), 0}, in.number(*offset)};
  if (!in.ok() || tensor.parameter.name.empty()) return misfit("a tensor of a bucket has a name, dtype, shape or offset that is none");
  const auto bytes = tensor_bytes(tensor.parameter.dtype, tensor.parameter.shape);
  if (!bytes) return misfit(fmt::format("tensor {}: its size overflows", tensor.parameter.name));
  tensor.parameter.bytes = *bytes;
  return tensor;
}

Result<SenderPickle> read_pickled_bucket(const PickleDocument& document) {
  NativeBucket bucket;
  const auto& items = document.at(document.root).items;
  bucket.tensors.reserve(items.size());
  for (const PickleIndex index : items) {
    CKPT_ASSIGN_OR_RETURN(NativeTensor tensor, read_pickled_tensor(document, index));
    bucket.tensors.push_back(std::move(tensor));
  }
  return SenderPickle(std::move(bucket));
}

}  // namespace

Result<SenderPickle> decode_sender_pickle(std::string_view bytes) {
  CKPT_ASSIGN_OR_RETURN(const PickleDocument document, read_pickle(bytes, kSenderLimits));
  switch (document.at(document.root).kind) {
    case Kind::none: return SenderPickle(PickledNone{});
    case Kind::tuple: return read_handle(document);
    case Kind::list: return read_pickled_bucket(document);
    default: break;
  }
  if (std::optional<std::string> exception = pickled_exception(document)) return SenderPickle(NativeAbort{std::move(*exception)});
  return misfit(fmt::format("it is no message of this channel: {}", pickle_repr(document, 200)));
}

Status check_pickled_bucket(const NativeBucket& bucket, std::uint64_t buffer_bytes) {
  for (const NativeTensor& tensor : bucket.tensors) {
    const Parameter& parameter = tensor.parameter;
    if (tensor.offset_bytes % std::max<std::uint64_t>(bits(parameter.dtype) / 8, 1) != 0)
      return misfit(fmt::format("tensor {} starts at {}, no multiple of its element's size", parameter.name, tensor.offset_bytes));
    if (tensor.offset_bytes > buffer_bytes || parameter.bytes > buffer_bytes - tensor.offset_bytes)
      return misfit(fmt::format("tensor {} of {} bytes at {} lies outside the buffer of {}", parameter.name, parameter.bytes, tensor.offset_bytes,
                                buffer_bytes));
  }
  return Status::success();
}

}  // namespace ckpt
