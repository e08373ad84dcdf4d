#include "rendezvous/store_keys.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>

namespace ckpt {
namespace {

std::uint64_t size_of(const std::shared_ptr<const Bytes>& value) { return value ? value->size() : 0; }

void answer(ConnectionId to, std::uint64_t id, std::int64_t number, std::shared_ptr<const Bytes> value, Outbox& out) {
  out.send(to, {.type = MessageType::reply, .id = id, .number = number, .value = std::move(value)});
}

/// Numbers are kept as decimal text: readable with get.
std::optional<std::int64_t> number_in(const std::shared_ptr<const Bytes>& value) {
  if (!value || value->size() > 20) return std::nullopt;
  const std::string text(as_text(*value));
  char* end = nullptr;
  errno = 0;
  const long long number = std::strtoll(text.c_str(), &end, 10);
  return errno == 0 && end == text.c_str() + text.size() ? std::optional<std::int64_t>(number) : std::nullopt;
}

}  // namespace

const StoreKeys::Entry* StoreKeys::find(const std::string& key) const {
  const auto entry = entries_.find(key);
  return entry == entries_.end() ? nullptr : &entry->second;
}

void StoreKeys::handle(ConnectionId from, const StoreMessage& request, TimePoint now, Outbox& out) {
  const Entry* entry = find(request.key);
  switch (request.type) {
    case MessageType::set:
      if (const Status status = change(request.key, request.value, out); !status.ok()) return out.refuse(from, request.id, status);
      return answer(from, request.id, find(request.key)->version, nullptr, out);
    case MessageType::get:
      if (entry == nullptr)
        return out.refuse(from, request.id, {StatusCode::not_found, Scope::operation, "{}: there is no such key", request.name()});
      return answer(from, request.id, entry->version, entry->value, out);
    case MessageType::watch:
      if (entry != nullptr && entry->version != request.number) return answer(from, request.id, entry->version, entry->value, out);
      watches_.push_back({from, request, due_time(now, request.timeout_ns)});
      return;
    case MessageType::add: return add(from, request, out);
    default: return compare_set(from, request, out);
  }
}

void StoreKeys::add(ConnectionId from, const StoreMessage& request, Outbox& out) {
  const Entry* entry = find(request.key);
  const std::optional<std::int64_t> before = entry == nullptr ? 0 : number_in(entry->value);
  std::int64_t sum = 0;
  if (!before || __builtin_add_overflow(*before, request.number, &sum))
    return out.refuse(from, request.id,
                      {StatusCode::failed_precondition, Scope::operation, "{}: the value is no number, or too large a one", request.name()});
  const Status status = change(request.key, std::make_shared<const Bytes>(to_bytes(std::to_string(sum))), out);
  if (!status.ok()) return out.refuse(from, request.id, status);
  answer(from, request.id, sum, nullptr, out);
}

void StoreKeys::compare_set(ConnectionId from, const StoreMessage& request, Outbox& out) {
  const Entry* entry = find(request.key);
  const std::int64_t version = entry == nullptr ? 0 : entry->version;
  if (version != request.number)
    return out.refuse(
        from, request.id,
        {StatusCode::failed_precondition, Scope::operation, "{}: it is at version {}, not {}", request.name(), version, request.number});
  if (const Status status = change(request.key, request.value, out); !status.ok()) return out.refuse(from, request.id, status);
  answer(from, request.id, version + 1, nullptr, out);
}

Status StoreKeys::change(const std::string& key, std::shared_ptr<const Bytes> value, Outbox& out) {
  const Entry* before = find(key);
  const std::uint64_t others = bytes_ - (before == nullptr ? 0 : key.size() + size_of(before->value));
  if (others + key.size() + size_of(value) > kMaxStoreBytes)
    return {StatusCode::resource_exhausted, Scope::operation, "set \"{}\": the store holds {} and takes at most {}", key, format_bytes(others),
            format_bytes(kMaxStoreBytes)};
  bytes_ = others + key.size() + size_of(value);
  Entry& entry = entries_[key];
  entry.value = std::move(value);
  ++entry.version;
  const auto waits = [&](const Watch& watch) { return watch.request.key == key && watch.request.number != entry.version; };
  for (const Watch& watch : watches_)
    if (waits(watch)) answer(watch.connection, watch.request.id, entry.version, entry.value, out);
  std::erase_if(watches_, waits);
  return Status::success();
}

void StoreKeys::disconnected(ConnectionId connection) {
  std::erase_if(watches_, [&](const Watch& watch) { return watch.connection == connection; });
}

void StoreKeys::expire(TimePoint now, Outbox& out) {
  const auto due = [&](const Watch& watch) { return watch.deadline <= now; };
  for (const Watch& watch : watches_)
    if (due(watch))
      out.refuse(watch.connection, watch.request.id,
                 {StatusCode::deadline_exceeded, Scope::operation, "{}: it did not change within {}", watch.request.name(),
                  format_duration(due_time(TimePoint{}, watch.request.timeout_ns) - TimePoint{})});
  std::erase_if(watches_, due);
}

std::optional<TimePoint> StoreKeys::next_deadline() const {
  std::optional<TimePoint> first;
  for (const Watch& watch : watches_) first = std::min(first.value_or(TimePoint::max()), watch.deadline);
  return first;
}

}  // namespace ckpt
