#include "rendezvous/store_client.h"

namespace ckpt {
namespace {

std::shared_ptr<const Bytes> shared(Bytes bytes) { return bytes.empty() ? nullptr : std::make_shared<const Bytes>(std::move(bytes)); }

StoreValue value_of(const StoreAnswer& answer) { return {answer.message.value ? *answer.message.value : Bytes(), answer.message.number}; }

Status check_key(const std::string& key, std::size_t value_bytes) {
  if (!key.empty() && key.size() <= kMaxKeyBytes && value_bytes <= kMaxValueBytes) return Status::success();
  return {StatusCode::invalid_argument,
          Scope::operation,
          "a key of {} and a value of {} bytes: from 1 to {}, and at most {} are possible",
          key.size(),
          value_bytes,
          kMaxKeyBytes,
          kMaxValueBytes};
}

}  // namespace

Status StoreClient::set(const std::string& key, Bytes value, Deadline deadline) {
  CKPT_RETURN_IF_ERROR(check_key(key, value.size()));
  return ask({.type = MessageType::set, .key = key, .value = shared(std::move(value))}, deadline).status();
}

Result<StoreValue> StoreClient::get(const std::string& key, Deadline deadline) {
  CKPT_RETURN_IF_ERROR(check_key(key, 0));
  CKPT_ASSIGN_OR_RETURN(const StoreAnswer answer, ask({.type = MessageType::get, .key = key}, deadline));
  return value_of(answer);
}

Result<StoreValue> StoreClient::watch(const std::string& key, std::int64_t seen, Deadline deadline) {
  CKPT_RETURN_IF_ERROR(check_key(key, 0));
  CKPT_ASSIGN_OR_RETURN(const StoreAnswer answer, ask({.type = MessageType::watch, .number = seen, .key = key}, deadline));
  return value_of(answer);
}

Result<std::int64_t> StoreClient::add(const std::string& key, std::int64_t number, Deadline deadline) {
  CKPT_RETURN_IF_ERROR(check_key(key, 0));
  CKPT_ASSIGN_OR_RETURN(const StoreAnswer answer, ask({.type = MessageType::add, .number = number, .key = key}, deadline));
  return answer.message.number;
}

Result<std::int64_t> StoreClient::compare_set(const std::string& key, std::int64_t version, Bytes value, Deadline deadline) {
  CKPT_RETURN_IF_ERROR(check_key(key, value.size()));
  StoreMessage request{.type = MessageType::compare_set, .number = version, .key = key, .value = shared(std::move(value))};
  CKPT_ASSIGN_OR_RETURN(const StoreAnswer answer, ask(std::move(request), deadline));
  return answer.message.number;
}

}  // namespace ckpt
