#define XXH_INLINE_ALL
#include "capi/receiver.h"

#include <xxhash.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "base/options.h"
#include "capi/error.h"
#include "capi/settings_json.h"

namespace ckpt::capi {
namespace {

/// Answers and the descriptor come from the sender's I/O thread at once, or never.
constexpr Duration kSenderAnswers = std::chrono::seconds(10);
/// A slot has gigabytes at most; a GPU that hangs must not hold the engine for long.
constexpr Duration kGpuCopies = std::chrono::seconds(60);
constexpr std::size_t kCudaIpcHandleBytes = 64;

Result<ReceiveOptions> receive_options(const char* address, const char* settings) {
  CKPT_ASSIGN_OR_RETURN(const Settings values, settings_from_json(settings));
  ReceiveOptions options;
  options.address = address;
  options.heartbeat_interval = values.duration("heartbeat_interval");
  options.heartbeat_timeout = values.duration("heartbeat_timeout");
  return options;
}

Status take_native_handle(const NativeHandle& handle, ckpt_receiver& receiver, ckpt_event& event) {
  event.buffer_bytes = handle.bytes;
  if (handle.cuda_ipc_handle.empty()) {
    CKPT_ASSIGN_OR_RETURN(SlotView view, SlotView::attach(handle, Deadline::after(kSenderAnswers), receiver.never));
    receiver.view.emplace(std::move(view));
    event.host_buffer = receiver.view->host_memory();
    event.host_fd = receiver.view->host_fd();
    return Status::success();
  }
  PickledHandle whole;  // our allocations are buffers of their own
  whole.bytes = whole.storage_size_bytes = handle.bytes;
  receiver.handle_json = cuda_handle_json(whole);
  event.cuda_ipc_handle = handle.cuda_ipc_handle.data();
  event.cuda_ipc_handle_bytes = kCudaIpcHandleBytes;
  event.cuda_handle_json = receiver.handle_json.c_str();
  return Status::success();
}

void take_pickled_handle(const PickledHandle& handle, ckpt_receiver& receiver, ckpt_event& event) {
  receiver.handle_json = cuda_handle_json(handle);
  event.buffer_bytes = handle.bytes;
  event.cuda_ipc_handle = handle.storage_handle.data();
  event.cuda_ipc_handle_bytes = static_cast<std::uint32_t>(handle.storage_handle.size());
  event.cuda_handle_json = receiver.handle_json.c_str();
}

/// Where the sender took digests. What is in a GPU's memory is copied to the host for that: the engine maps it by itself.
Status verify_bucket(ckpt_receiver& receiver) {
  const NativeBucket& bucket = receiver.session.bucket();
  if (bucket.checks.empty()) return Status::success();
  const Deadline deadline = Deadline::after(kGpuCopies);
  if (!receiver.view) {
    CKPT_ASSIGN_OR_RETURN(SlotView view, SlotView::attach(std::get<NativeHandle>(receiver.session.handle()), deadline, receiver.never));
    receiver.view.emplace(std::move(view));
  }
  CKPT_RETURN_IF_ERROR(receiver.view->fetch(bucket, deadline, receiver.never));
  return receiver.view->verify(bucket);
}

/// The rest of an event, by its kind. An error is for the sender: it is what we answer.
Status describe(ckpt_receiver& receiver, ckpt_event& event) {
  if (event.kind == CKPT_EVENT_HANDLE) {
    if (const auto* native = std::get_if<NativeHandle>(&receiver.session.handle())) return take_native_handle(*native, receiver, event);
    take_pickled_handle(std::get<PickledHandle>(receiver.session.handle()), receiver, event);
  }
  if (event.kind == CKPT_EVENT_BUCKET) {
    CKPT_RETURN_IF_ERROR(verify_bucket(receiver));
    describe_bucket(receiver.session.bucket(), receiver, event);
  }
  receiver.releasing = event.kind == CKPT_EVENT_RELEASE;
  return Status::success();
}

Result<ckpt_event> next_event(ckpt_receiver& receiver, Deadline deadline) {
  for (;;) {
    CKPT_ASSIGN_OR_RETURN(const WorkerEvent kind, receiver.session.next(deadline, receiver.never));
    ckpt_event event{};
    event.kind = static_cast<std::int32_t>(kind);
    event.native = receiver.session.native() ? 1 : 0;
    event.host_fd = -1;
    const Status described = describe(receiver, event);
    if (described.ok()) return event;
    CKPT_RETURN_IF_ERROR(receiver.session.answer(described.to_string(), Deadline::after(kSenderAnswers), receiver.never));
  }
}

}  // namespace

std::string cuda_handle_json(const PickledHandle& handle) {
  const nlohmann::json json{{"tensor_size", {handle.bytes}},
                            {"tensor_stride", {1}},
                            {"tensor_offset", handle.tensor_offset},
                            {"dtype", "uint8"},
                            {"storage_device", handle.storage_device},
                            {"storage_size_bytes", handle.storage_size_bytes},
                            {"storage_offset_bytes", handle.storage_offset_bytes},
                            {"requires_grad", handle.requires_grad},
                            {"ref_counter_handle", to_hex(handle.ref_counter_handle)},
                            {"ref_counter_offset", handle.ref_counter_offset},
                            {"event_handle", to_hex(handle.event_handle)},
                            {"event_sync_required", handle.event_sync_required}};
  return json.dump();
}

void describe_bucket(const NativeBucket& bucket, ckpt_receiver& receiver, ckpt_event& event) {
  receiver.tensors.clear();
  receiver.shapes.clear();
  receiver.names.clear();
  for (const NativeTensor& tensor : bucket.tensors) {
    const Parameter& parameter = tensor.parameter;
    receiver.tensors.push_back(
        {tensor.offset_bytes, parameter.bytes, static_cast<std::uint32_t>(parameter.dtype), static_cast<std::uint32_t>(parameter.shape.size())});
    receiver.shapes.insert(receiver.shapes.end(), parameter.shape.begin(), parameter.shape.end());
    receiver.names.append(parameter.name).push_back('\0');
  }
  const std::uint64_t counts[] = {receiver.tensors.size(), receiver.shapes.size(), receiver.names.size()};
  XXH3_state_t state;
  XXH3_64bits_reset(&state);
  XXH3_64bits_update(&state, counts, sizeof counts);
  XXH3_64bits_update(&state, receiver.tensors.data(), receiver.tensors.size() * sizeof(ckpt_placed_tensor));  // no padding in it
  XXH3_64bits_update(&state, receiver.shapes.data(), receiver.shapes.size() * sizeof(std::uint64_t));
  XXH3_64bits_update(&state, receiver.names.data(), receiver.names.size());
  event.bucket = bucket.index;
  event.num_tensors = static_cast<std::uint32_t>(receiver.tensors.size());
  event.layout = XXH3_64bits_digest(&state);
  event.tensors = receiver.tensors.data();
  event.shapes = receiver.shapes.data();
  event.num_shapes = receiver.shapes.size();
  event.names = receiver.names.c_str();
  event.names_bytes = receiver.names.size();
}

}  // namespace ckpt::capi

const char* ckpt_dtype_name(std::uint32_t dtype) {
  return dtype < ckpt::kNumDTypes ? ckpt::name(static_cast<ckpt::DType>(dtype)).data() : nullptr;  // of a literal: ends in zero
}

std::int32_t ckpt_receiver_open(const char* address, const char* settings, ckpt_receiver** receiver, ckpt_error** error) {
  ckpt::Result<ckpt::ReceiveOptions> options = ckpt::capi::receive_options(address, settings);
  if (!options.ok()) return ckpt::capi::hand_out(options.status(), error);
  *receiver = std::make_unique<ckpt_receiver>(std::move(options).value()).release();
  return 0;
}

std::int32_t ckpt_receiver_next(ckpt_receiver* receiver, std::uint32_t timeout_ms, ckpt_event* event, ckpt_error** error) {
  const ckpt::Result<ckpt_event> next = ckpt::capi::next_event(*receiver, ckpt::Deadline::after(std::chrono::milliseconds(timeout_ms)));
  if (!next.ok()) return ckpt::capi::hand_out(next.status(), error);
  *event = *next;
  return 0;
}

std::int32_t ckpt_receiver_answer(ckpt_receiver* receiver, const char* error_text, ckpt_error** error) {
  if (std::exchange(receiver->releasing, false) && error_text == nullptr) receiver->view.reset();
  const std::string_view text = error_text == nullptr ? "" : *error_text == '\0' ? "failed, without a word" : error_text;
  return ckpt::capi::hand_out(receiver->session.answer(text, ckpt::Deadline::after(ckpt::capi::kSenderAnswers), receiver->never), error);
}

void ckpt_receiver_close(ckpt_receiver* receiver) { delete receiver; }
