#include "rendezvous/membership.h"

#include <algorithm>

namespace ckpt {
namespace {

Status has_left(std::string_view what, std::uint32_t rank) {
  return Status(StatusCode::unavailable, Scope::group, "{}: this rank has left the group", what).at_rank(static_cast<int>(rank));
}

}  // namespace

std::string list_ranks(const std::vector<std::uint32_t>& ranks) {
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    if (i > 0) text += i + 1 == ranks.size() ? " and " : ", ";
    text += std::to_string(ranks[i]);
  }
  return text;
}

void Membership::handle(ConnectionId from, const StoreMessage& request, TimePoint now, Outbox& out) {
  if (request.type == MessageType::join) return join(from, request, now, out);
  const std::optional<std::uint32_t> rank = rank_of(from);
  if (!rank)
    return out.refuse(from, request.id, {StatusCode::failed_precondition, Scope::operation, "{}: this connection has not joined", request.name()});
  if (request.type == MessageType::leave) return leave(from, *rank, request, out);
  if (request.epoch != epoch_)
    return out.refuse(
        from, request.id,
        {StatusCode::stale_epoch, Scope::group, "{}: it belongs to epoch {}, the group is at {}", request.name(), request.epoch, epoch_});
  if (request.type == MessageType::gather) return gather(from, *rank, request, now, out);
  if (phase_ == Phase::running) fail(decode_status(request.bytes()).at_rank(static_cast<int>(*rank)), out);  // abort
}

Status Membership::check_join(ConnectionId from, const StoreMessage& request) const {
  if (request.number != static_cast<std::int64_t>(seats_.size()) || request.rank >= seats_.size())
    return Status(StatusCode::failed_precondition, Scope::group, "join as rank {} of {}: the store expects {} ranks", request.rank, request.number,
                  seats_.size())
        .advise("start every rank with the same number of ranks");
  const Seat& seat = seats_[request.rank];
  if (seat.connection != 0 && seat.connection != from)
    return Status(StatusCode::failed_precondition, Scope::group, "join as rank {}: another process is this rank", request.rank)
        .advise("look for two processes that were started with the same rank, or for one of an earlier run");
  if (rank_of(from).value_or(request.rank) != request.rank || (step_ && step_->arrivals.contains(request.rank)))
    return {StatusCode::failed_precondition, Scope::group, "join as rank {}: this connection has joined already", request.rank};
  if (phase_ == Phase::running && seat.connection == 0)
    return {StatusCode::failed_precondition, Scope::group, "join as rank {}: it has left, and the others still run as epoch {}", request.rank,
            epoch_};
  return Status::success();
}

void Membership::join(ConnectionId from, const StoreMessage& request, TimePoint now, Outbox& out) {
  if (const Status status = check_join(from, request); !status.ok()) return out.refuse(from, request.id, status);
  if (phase_ == Phase::running) {
    if (request.epoch != epoch_)
      return out.refuse(from, request.id,
                        {StatusCode::stale_epoch, Scope::group, "join: epoch {} has ended, the group is at {}", request.epoch, epoch_});
    fail(Status(StatusCode::cancelled, Scope::group, "this rank asked for a new epoch").at_rank(static_cast<int>(request.rank)), out);
  }
  seats_[request.rank] = {from, false};
  if (!step_) step_ = Step{"join", {}};
  step_->arrivals[request.rank] = {request.id, due_time(now, request.timeout_ns), request.timeout_ns, nullptr};
  if (step_->arrivals.size() == seats_.size()) start(out);
}

void Membership::start(Outbox& out) {
  ++epoch_;
  phase_ = Phase::running;
  failure_ = Status::success();
  for (const auto& [rank, arrival] : step_->arrivals)
    out.send(seats_[rank].connection, {.type = MessageType::joined, .id = arrival.id, .epoch = epoch_});
  step_.reset();
}

void Membership::gather(ConnectionId from, std::uint32_t rank, const StoreMessage& request, TimePoint now, Outbox& out) {
  if (phase_ != Phase::running) return out.refuse(from, request.id, failure_);
  if (!step_) step_ = Step{request.key, {}};
  if (step_->what != request.key || step_->arrivals.contains(rank)) {
    const std::uint32_t other = step_->arrivals.begin()->first;
    return fail(Status(StatusCode::internal, Scope::group, "the ranks do not run the same steps: this one is at {}, rank {} at {}", request.key,
                       other, step_->what)
                    .at_rank(static_cast<int>(rank)),
                out);
  }
  step_->arrivals[rank] = {request.id, due_time(now, request.timeout_ns), request.timeout_ns, request.value};
  for (std::uint32_t r = 0; r < seats_.size(); ++r)
    if (seats_[r].left) return fail(has_left(request.key, r), out);
  if (step_->arrivals.size() == seats_.size()) finish_gather(out);
}

void Membership::finish_gather(Outbox& out) {
  for (const auto& [to, receiver] : step_->arrivals) {
    for (const auto& [rank, sender] : step_->arrivals)
      if (rank != to && sender.value)
        out.send(seats_[to].connection, {.type = MessageType::part, .rank = rank, .id = receiver.id, .epoch = epoch_, .value = sender.value});
    out.send(seats_[to].connection, {.type = MessageType::gathered, .id = receiver.id, .epoch = epoch_});
  }
  step_.reset();
}

void Membership::leave(ConnectionId from, std::uint32_t rank, const StoreMessage& request, Outbox& out) {
  seats_[rank] = {0, true};
  out.send(from, {.type = MessageType::reply, .id = request.id});
  if (step_) return fail(has_left(step_->what, rank), out);
  if (empty()) phase_ = Phase::forming;  // all in peace: the next join starts anew
}

void Membership::fail(const Status& why, Outbox& out) {
  if (phase_ == Phase::running) {
    phase_ = Phase::failed;
    failure_ = why;
    out.send(kEveryone, {.type = MessageType::failed, .epoch = epoch_, .value = std::make_shared<const Bytes>(encode_status(why))});
  } else if (step_) {
    for (const auto& [rank, arrival] : step_->arrivals)
      if (seats_[rank].connection != 0) out.refuse(seats_[rank].connection, arrival.id, why);
  }
  step_.reset();
}

void Membership::disconnected(ConnectionId connection, const Status& why, Outbox& out) {
  const std::optional<std::uint32_t> rank = rank_of(connection);
  if (!rank) return;
  seats_[*rank] = {};
  if (phase_ == Phase::running || (step_ && step_->arrivals.contains(*rank))) fail(why.at_rank(static_cast<int>(*rank)), out);
}

void Membership::expire(TimePoint now, Outbox& out) {
  if (!step_) return;
  const auto first = std::min_element(step_->arrivals.begin(), step_->arrivals.end(),
                                      [](const auto& a, const auto& b) { return a.second.deadline < b.second.deadline; });
  if (first->second.deadline > now) return;
  const std::vector<std::uint32_t> late = missing();
  const Duration waited = due_time(TimePoint{}, first->second.timeout_ns) - TimePoint{};
  const Status status(StatusCode::deadline_exceeded, Scope::group, "{}: {} of {} did not come within {}", step_->what, list_ranks(late),
                      seats_.size(), format_duration(waited));
  fail(late.size() == 1 ? status.at_rank(static_cast<int>(late[0])) : status, out);
}

std::optional<TimePoint> Membership::next_deadline() const {
  if (!step_) return std::nullopt;
  TimePoint first = TimePoint::max();
  for (const auto& [rank, arrival] : step_->arrivals) first = std::min(first, arrival.deadline);
  return first;
}

std::optional<std::uint32_t> Membership::rank_of(ConnectionId connection) const {
  for (std::uint32_t rank = 0; rank < seats_.size(); ++rank)
    if (seats_[rank].connection == connection) return rank;
  return std::nullopt;
}

bool Membership::empty() const {
  return std::all_of(seats_.begin(), seats_.end(), [](const Seat& seat) { return seat.connection == 0; });
}

std::vector<std::uint32_t> Membership::missing() const {
  std::vector<std::uint32_t> ranks;
  for (std::uint32_t rank = 0; rank < seats_.size(); ++rank)
    if (!step_->arrivals.contains(rank)) ranks.push_back(rank);
  return ranks;
}

}  // namespace ckpt
