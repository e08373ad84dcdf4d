/// What an operation says when it ends: ok, or what failed, where, why and what to do. Layer 0; everything returns it.
#pragma once

#include <fmt/core.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace ckpt {

/// The one list of codes. Where two fit, prefer the one that tells the caller what to do next: `not_found` over `failed_precondition`,
/// `stale_epoch` over `unavailable`, `resource_exhausted` over `internal`.
enum class StatusCode : std::uint8_t {
  ok,
  internal,             ///< our own bug
  invalid_argument,     ///< the input is wrong, whatever the state
  not_found,            ///< a name or file that is not there
  already_exists,       ///< a name that is taken
  failed_precondition,  ///< right input, wrong moment
  resource_exhausted,   ///< memory, disk, descriptors; the text says how much is missing
  deadline_exceeded,    ///< a wait ended before what it waited for
  cancelled,            ///< the caller aborted
  unavailable,          ///< a peer or service is gone
  stale_epoch,          ///< a message of a membership that has ended
  data_corruption,      ///< bytes that are not what they must be
  unsupported,          ///< understood, and not offered
  remote_error,         ///< the other side raised; its text is kept
};

/// The largest thing lost, so that the caller reads off the recovery.
enum class Scope : std::uint8_t {
  operation,  ///< correct the input or retry
  peer,       ///< drop one connection
  group,      ///< make a new epoch
  process,    ///< restart
};

/// One row of the table that maps codes to names, HTTP statuses and exit codes.
struct StatusCodeInfo {
  StatusCode code;
  std::string_view name;
  int http_status;
  int exit_code;
};

inline constexpr std::array<StatusCodeInfo, 14> kStatusCodes{{
    {StatusCode::ok, "ok", 200, 0},
    {StatusCode::internal, "internal", 500, 1},
    {StatusCode::invalid_argument, "invalid_argument", 400, 2},
    {StatusCode::not_found, "not_found", 404, 3},
    {StatusCode::already_exists, "already_exists", 409, 4},
    {StatusCode::failed_precondition, "failed_precondition", 409, 5},
    {StatusCode::resource_exhausted, "resource_exhausted", 507, 6},
    {StatusCode::deadline_exceeded, "deadline_exceeded", 504, 7},
    {StatusCode::cancelled, "cancelled", 499, 8},
    {StatusCode::unavailable, "unavailable", 503, 9},
    {StatusCode::stale_epoch, "stale_epoch", 409, 10},
    {StatusCode::data_corruption, "data_corruption", 422, 11},
    {StatusCode::unsupported, "unsupported", 501, 12},
    {StatusCode::remote_error, "remote_error", 502, 13},
}};

/// The row of `code`.
[[nodiscard]] const StatusCodeInfo& info(StatusCode code);
[[nodiscard]] std::string_view name(StatusCode code);
[[nodiscard]] std::string_view name(Scope scope);
[[nodiscard]] std::optional<StatusCode> status_code_from_name(std::string_view name);
[[nodiscard]] std::optional<Scope> scope_from_name(std::string_view name);

/// Outcome of an operation. Immutable; a copy is a pointer copy; ok costs nothing. Threads: like a value.
///
///   return Status(StatusCode::unavailable, Scope::peer, "hand-over of bucket {} to worker {}: {}", 17, key, why).at_stage("hand-over");
class [[nodiscard]] Status {
 public:
  Status() = default;  ///< ok
  static Status success() { return {}; }

  template <typename... Args>
  Status(StatusCode code, Scope scope, fmt::format_string<Args...> format, Args&&... args)
      : Status(Text{}, code, scope, fmt::format(format, std::forward<Args>(args)...)) {}

  /// Without formatting: for text that comes from elsewhere.
  [[nodiscard]] static Status of(StatusCode code, Scope scope, std::string message) { return Status(Text{}, code, scope, std::move(message)); }

  [[nodiscard]] bool ok() const { return detail_ == nullptr; }
  [[nodiscard]] StatusCode code() const { return ok() ? StatusCode::ok : detail_->code; }
  [[nodiscard]] Scope scope() const { return ok() ? Scope::operation : detail_->scope; }
  [[nodiscard]] const std::string& message() const;
  [[nodiscard]] const std::string& stage() const;   ///< "load", "gather", …; empty where none was given
  [[nodiscard]] const std::string& advice() const;  ///< what to do; may be empty
  [[nodiscard]] std::optional<int> rank() const { return ok() ? std::nullopt : detail_->rank; }

  /// A copy with `note: ` put before the message, from the inside out. Ok stays ok.
  template <typename... Args>
  [[nodiscard]] Status with_note(fmt::format_string<Args...> format, Args&&... args) const {
    return ok() ? *this : prefixed(fmt::format(format, std::forward<Args>(args)...));
  }
  /// Copies that say where it failed. The first one to say it wins: the place nearest to the cause knows best.
  [[nodiscard]] Status at_stage(std::string_view stage) const;
  [[nodiscard]] Status at_rank(int rank) const;
  [[nodiscard]] Status advise(std::string_view advice) const;
  [[nodiscard]] Status with_scope(Scope scope) const;

  /// `unavailable: rank 2, hand-over: bucket 17 to worker …: disconnected (restart the engine)`, or `ok`.
  [[nodiscard]] std::string to_string() const;

  friend bool operator==(const Status& a, const Status& b) { return a.to_string() == b.to_string() && a.scope() == b.scope(); }

 private:
  struct Text {};
  struct Detail {
    StatusCode code;
    Scope scope;
    std::string message;
    std::string stage;
    std::string advice;
    std::optional<int> rank;
  };
  Status(Text, StatusCode code, Scope scope, std::string message);
  [[nodiscard]] Status prefixed(std::string note) const;

  std::shared_ptr<const Detail> detail_;  // shared: copies of one immutable value
};

}  // namespace ckpt

#define CKPT_CONCAT_INNER(a, b) a##b
#define CKPT_CONCAT(a, b) CKPT_CONCAT_INNER(a, b)

/// Returns the status of `expression` from the enclosing function unless it is ok.
#define CKPT_RETURN_IF_ERROR(expression)                                                     \
  do {                                                                                       \
    if (::ckpt::Status ckpt_status_ = (expression); !ckpt_status_.ok()) return ckpt_status_; \
  } while (false)
