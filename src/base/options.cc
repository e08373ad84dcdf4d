#include "base/options.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <iterator>

#include "base/bytes.h"
#include "base/check.h"

namespace ckpt {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kMillisecond = 1'000'000;

constexpr Option kOptions[] = {
    {"ack_timeout", "CKPT_ACK_TIMEOUT", "300s", Unit::duration, 100 * kMillisecond, 3600 * kSecond,
     "Longest wait for a worker's answer to one bucket."},
    {"api_key", "CKPT_API_KEY", "", Unit::text, 0, 0, "Bearer token sent to the engines' HTTP routes; never logged."},
    {"bucket_size", "CKPT_BUCKET_SIZE", "auto", Unit::bytes, 256, 64 * GiB,
     "Wanted size of a frame (auto: 256 MiB on GPUs, 32 MiB in host memory); a small checkpoint gets smaller ones, the largest tensor may need "
     "more."},
    {"connect_timeout", "CKPT_CONNECT_TIMEOUT", "30s", Unit::duration, 100 * kMillisecond, 3600 * kSecond,
     "Longest wait for a peer or a worker to connect."},
    {"device", "CKPT_DEVICE", "auto", Unit::text, 0, 0, "Memory that engines map: auto, cuda or host."},
    {"device_uuid", "CKPT_DEVICE_UUID", "", Unit::text, 0, 0,
     "GPUs by the UUID that engines look up, one for each rank of this host, separated by commas; empty: the rank's place on its host is the GPU's "
     "number. Needed for slices of GPUs (MIG)."},
    {"heartbeat_interval", "CKPT_HEARTBEAT_INTERVAL", "1s", Unit::duration, 10 * kMillisecond, 60 * kSecond, "How often peers prove that they live."},
    {"heartbeat_timeout", "CKPT_HEARTBEAT_TIMEOUT", "10s", Unit::duration, 50 * kMillisecond, 3600 * kSecond,
     "Silence after which a peer counts as dead."},
    {"hook_timeout", "CKPT_HOOK_TIMEOUT", "600s", Unit::duration, 100 * kMillisecond, 7200 * kSecond,
     "Longest wait for an engine's work after the last bucket."},
    {"interface", "CKPT_INTERFACE", "", Unit::text, 0, 0,
     "Address or network interface that this host's ranks listen on; empty: the one that reaches the master."},
    {"keep_versions", "CKPT_KEEP_VERSIONS", "1", Unit::count, 0, 16,
     "Versions before the one in service that the host pool of a Python ParameterServer keeps for rollback() where memory allows; a one-shot update "
     "keeps none."},
    {"log_level", "CKPT_LOG_LEVEL", "warning", Unit::text, 0, 0, "trace, debug, info, warning, error or off."},
    {"master_addr", "CKPT_MASTER_ADDR", "", Unit::text, 0, 0, "Host of the store; empty: from the launcher's environment."},
    {"master_port", "CKPT_MASTER_PORT", "0", Unit::count, 0, 65535, "Port of the store; 0: from the launcher's environment."},
    {"memory_limit", "CKPT_MEMORY_LIMIT", "0", Unit::bytes, 0, 0,
     "Most device memory that slots may take on a rank; 0: what is free, less head room."},
    {"nccl_library", "CKPT_NCCL_LIBRARY", "", Unit::text, 0, 0, "Path of libnccl.so.2; empty: the loader's search path, then where pip puts it."},
    {"num_slots", "CKPT_NUM_SLOTS", "3", Unit::count, 1, 64,
     "Most slots of the device buffer; memory may allow fewer, and frames above 1 GiB get two."},
    {"post_timeout", "CKPT_POST_TIMEOUT", "600s", Unit::duration, 100 * kMillisecond, 7200 * kSecond,
     "Longest wait for the reply to the engine's update call."},
    {"read_chunk_size", "CKPT_READ_CHUNK_SIZE", "8MiB", Unit::bytes, 64 * KiB, GiB, "Size of one read from a checkpoint file."},
    {"read_threads", "CKPT_READ_THREADS", "4", Unit::count, 1, 64,
     "Threads that read a checkpoint from a disk on a rank; one in memory is read by as many as the rank has cores, at most 16."},
    {"ready_timeout", "CKPT_READY_TIMEOUT", "120s", Unit::duration, 0, 86400 * kSecond,
     "Longest wait for an engine to become ready before an update."},
    {"socket_dir", "CKPT_SOCKET_DIR", "", Unit::text, 0, 0,
     "Directory of the engine sockets, made 0700; \"abstract\": abstract names; empty: a private directory of the user's."},
    {"store_token", "CKPT_STORE_TOKEN", "", Unit::text, 0, 0, "Secret that every rank shows to the store; never logged."},
    {"stripe_size", "CKPT_STRIPE_SIZE", "32MiB", Unit::bytes, 64 * KiB, 4 * GiB, "Most bytes of one rank's unit of a stripe."},
    {"timeout", "CKPT_TIMEOUT", "600s", Unit::duration, 100 * kMillisecond, 86400 * kSecond, "Bounds a whole command."},
};

constexpr bool sorted_by_name() {
  for (std::size_t i = 1; i < std::size(kOptions); ++i)
    if (!(kOptions[i - 1].name < kOptions[i].name)) return false;
  return true;
}
static_assert(sorted_by_name());

std::string in_unit(const Option& option, std::uint64_t number) {
  if (option.unit == Unit::bytes) return fmt::format("{} bytes", number);
  if (option.unit == Unit::duration) return format_duration(Duration(static_cast<std::int64_t>(number)));
  return fmt::format("{}", number);
}

Result<std::uint64_t> parse_number(const Option& option, std::string_view text) {
  if (option.default_value == "auto" && text == "auto") return 0;
  if (option.unit == Unit::bytes) return parse_bytes(text);
  if (option.unit == Unit::duration) {
    CKPT_ASSIGN_OR_RETURN(const Duration duration, parse_duration(text));
    return static_cast<std::uint64_t>(duration.count());
  }
  if (option.unit == Unit::flag) {
    if (text == "1" || text == "true" || text == "yes") return 1;
    if (text == "0" || text == "false" || text == "no" || text.empty()) return 0;
    return Status(StatusCode::invalid_argument, Scope::operation, "\"{}\" is neither true nor false", text);
  }
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size())
    return Status(StatusCode::invalid_argument, Scope::operation, "\"{}\" is not a whole number", text);
  return number;
}

}  // namespace

std::span<const Option> option_table() { return kOptions; }

const Option* find_option(std::string_view name) {
  const auto* row = std::lower_bound(std::begin(kOptions), std::end(kOptions), name, [](const Option& a, std::string_view b) { return a.name < b; });
  return row != std::end(kOptions) && row->name == name ? row : nullptr;
}

Result<Duration> parse_duration(std::string_view text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view suffix = error == std::errc{} ? text.substr(static_cast<std::size_t>(end - text.data())) : text;
  constexpr std::pair<std::string_view, double> kFactors[] = {{"", 1e9},   {"s", 1e9},    {"ms", 1e6},  {"us", 1e3},
                                                              {"m", 6e10}, {"min", 6e10}, {"h", 3.6e12}};
  for (const auto& [unit, factor] : kFactors)
    if (error == std::errc{} && unit == suffix && std::isfinite(number) && number >= 0 && number * factor < 9e18)
      return Duration(static_cast<std::int64_t>(number * factor));
  return Status(StatusCode::invalid_argument, Scope::operation, "\"{}\" is not a duration: write for example 30s, 200ms, 5m or 2h", text);
}

Settings Settings::defaults() {
  Settings settings;
  for (const Option& option : kOptions) {
    Value value{std::string(option.default_value), 0};
    if (option.unit != Unit::text) {
      Result<std::uint64_t> number = parse_number(option, option.default_value);
      CKPT_CHECK(number.ok());
      value.number = *number;
    }
    settings.values_.emplace(option.name, std::move(value));
  }
  return settings;
}

Result<Settings> Settings::from_environment() {
  Settings settings = defaults();
  for (const Option& option : kOptions)
    if (const auto text = environment(std::string(option.environment).c_str()))
      CKPT_RETURN_IF_ERROR(settings.set(option.name, *text, option.environment));
  return settings;
}

Status Settings::set(std::string_view name, std::string_view text, std::string_view source) {
  const Option* option = find_option(name);
  if (option == nullptr) return {StatusCode::not_found, Scope::operation, "{}: there is no option {}", source, name};
  Value value{std::string(text), 0};
  if (option->unit != Unit::text) {
    const Result<std::uint64_t> number = parse_number(*option, text);
    if (!number.ok()) return number.status().with_note("{}", source);
    if (option->max != 0 && text != "auto" && (*number < option->min || *number > option->max))
      return {StatusCode::invalid_argument, Scope::operation, "{}: {} is out of range: from {} to {}", source, text, in_unit(*option, option->min),
              in_unit(*option, option->max)};
    value.number = *number;
  }
  values_.insert_or_assign(std::string(name), std::move(value));
  return Status::success();
}

const Settings::Value& Settings::value(std::string_view name, Unit unit) const {
  const Option* option = find_option(name);
  CKPT_CHECK(option != nullptr && option->unit == unit);
  return values_.find(name)->second;
}

const std::string& Settings::text(std::string_view name) const { return value(name, Unit::text).text; }
bool Settings::flag(std::string_view name) const { return value(name, Unit::flag).number != 0; }
std::uint64_t Settings::count(std::string_view name) const { return value(name, Unit::count).number; }
std::uint64_t Settings::bytes(std::string_view name) const { return value(name, Unit::bytes).number; }
Duration Settings::duration(std::string_view name) const { return Duration(static_cast<std::int64_t>(value(name, Unit::duration).number)); }

std::optional<std::string> environment(const char* variable) {
  const char* text = std::getenv(variable);
  if (text == nullptr || *text == '\0') return std::nullopt;
  return std::string(text);
}

}  // namespace ckpt
