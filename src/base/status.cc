#include "ckpt/status.h"

namespace ckpt {
namespace {

constexpr std::array<std::string_view, 4> kScopeNames{"operation", "peer", "group", "process"};
const std::string kEmpty;

constexpr bool table_is_in_order() {
  for (std::size_t i = 0; i < kStatusCodes.size(); ++i)
    if (kStatusCodes[i].code != static_cast<StatusCode>(i)) return false;
  return true;
}
static_assert(table_is_in_order(), "kStatusCodes is indexed by the code");
static_assert(kStatusCodes.size() == static_cast<std::size_t>(StatusCode::remote_error) + 1);
static_assert(kScopeNames.size() == static_cast<std::size_t>(Scope::process) + 1);

}  // namespace

const StatusCodeInfo& info(StatusCode code) { return kStatusCodes[static_cast<std::size_t>(code)]; }
std::string_view name(StatusCode code) { return info(code).name; }
std::string_view name(Scope scope) { return kScopeNames[static_cast<std::size_t>(scope)]; }

std::optional<StatusCode> status_code_from_name(std::string_view name) {
  for (const StatusCodeInfo& row : kStatusCodes)
    if (row.name == name) return row.code;
  return std::nullopt;
}

std::optional<Scope> scope_from_name(std::string_view name) {
  for (std::size_t i = 0; i < kScopeNames.size(); ++i)
    if (kScopeNames[i] == name) return static_cast<Scope>(i);
  return std::nullopt;
}

Status::Status(Text, StatusCode code, Scope scope, std::string message) {
  if (code != StatusCode::ok) detail_ = std::make_shared<const Detail>(Detail{code, scope, std::move(message), {}, {}, std::nullopt});
}

const std::string& Status::message() const { return ok() ? kEmpty : detail_->message; }
const std::string& Status::stage() const { return ok() ? kEmpty : detail_->stage; }
const std::string& Status::advice() const { return ok() ? kEmpty : detail_->advice; }

Status Status::prefixed(std::string note) const {
  auto detail = std::make_shared<Detail>(*detail_);
  detail->message = std::move(note) + ": " + detail->message;
  Status result;
  result.detail_ = std::move(detail);
  return result;
}

Status Status::at_stage(std::string_view stage) const {
  if (ok() || !detail_->stage.empty()) return *this;
  auto detail = std::make_shared<Detail>(*detail_);
  detail->stage = stage;
  Status result;
  result.detail_ = std::move(detail);
  return result;
}

Status Status::at_rank(int rank) const {
  if (ok() || detail_->rank) return *this;
  auto detail = std::make_shared<Detail>(*detail_);
  detail->rank = rank;
  Status result;
  result.detail_ = std::move(detail);
  return result;
}

Status Status::advise(std::string_view advice) const {
  if (ok() || !detail_->advice.empty()) return *this;
  auto detail = std::make_shared<Detail>(*detail_);
  detail->advice = advice;
  Status result;
  result.detail_ = std::move(detail);
  return result;
}

Status Status::with_scope(Scope scope) const {
  if (ok()) return *this;
  auto detail = std::make_shared<Detail>(*detail_);
  detail->scope = scope;
  Status result;
  result.detail_ = std::move(detail);
  return result;
}

std::string Status::to_string() const {
  if (ok()) return "ok";
  std::string where;
  if (detail_->rank) where += fmt::format("rank {}", *detail_->rank);
  if (!detail_->stage.empty()) where += (where.empty() ? "" : ", ") + detail_->stage;
  std::string text = fmt::format("{}: {}{}{}", name(detail_->code), where, where.empty() ? "" : ": ", detail_->message);
  if (!detail_->advice.empty()) text += fmt::format(" ({})", detail_->advice);
  return text;
}

}  // namespace ckpt
