#include "rendezvous/launcher_environment.h"

#include <charconv>

namespace ckpt {
namespace {

constexpr std::uint16_t kDefaultMasterPort = 29500;  // torch's

/// The variables of one launcher.
struct Names {
  const char* launcher;
  const char* rank;
  const char* num_ranks;
  const char* local_rank;
  const char* local_num_ranks;
};
constexpr Names kTorchrun{"torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"};
constexpr Names kOpenMpi{"open mpi", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"};
constexpr Names kSlurm{"slurm", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE"};
constexpr Names kPmi{"pmi", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"};

Result<std::uint32_t> number(const Lookup& lookup, const char* variable) {
  const auto text = lookup(variable);
  if (!text) return Status(StatusCode::invalid_argument, Scope::operation, "{} is not set, though its launcher set others", variable);
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc{} || end != text->data() + text->size())
    return Status(StatusCode::invalid_argument, Scope::operation, "{}=\"{}\" is not a whole number", variable, *text);
  return value;
}

Result<std::uint32_t> number_or(const Lookup& lookup, const char* variable, std::uint32_t fallback) {
  return lookup(variable) ? number(lookup, variable) : Result<std::uint32_t>(fallback);
}

Result<LauncherEnvironment> read_ranks(const Lookup& lookup, const Names& names) {
  LauncherEnvironment env;
  env.launcher = names.launcher;
  CKPT_ASSIGN_OR_RETURN(env.rank, number(lookup, names.rank));
  CKPT_ASSIGN_OR_RETURN(env.num_ranks, number(lookup, names.num_ranks));
  CKPT_ASSIGN_OR_RETURN(env.local_rank, number_or(lookup, names.local_rank, env.rank));
  CKPT_ASSIGN_OR_RETURN(env.local_num_ranks, number_or(lookup, names.local_num_ranks, 1));
  if (env.num_ranks == 0 || env.rank >= env.num_ranks)
    return Status(StatusCode::invalid_argument, Scope::operation, "{}={} does not fit {}={}", names.rank, env.rank, names.num_ranks, env.num_ranks);
  if (lookup(names.local_rank) && lookup(names.local_num_ranks) && env.local_rank >= env.local_num_ranks)
    return Status(StatusCode::invalid_argument, Scope::operation, "{}={} does not fit {}={}", names.local_rank, env.local_rank, names.local_num_ranks,
                  env.local_num_ranks);
  return env;
}

Result<std::uint16_t> port_of(const Lookup& lookup, const char* variable, std::uint16_t fallback) {
  CKPT_ASSIGN_OR_RETURN(const std::uint32_t port, number_or(lookup, variable, fallback));
  if (port == 0 || port > 65534)
    return Status(StatusCode::invalid_argument, Scope::operation, "{}={} is no port that has one above it", variable, port);
  return static_cast<std::uint16_t>(port);
}

/// host:port of a store that our own launcher hosts.
Status read_hosted_store(const std::string& address, LauncherEnvironment& env) {
  const std::size_t colon = address.rfind(':');
  unsigned port = 0;
  const char* begin = address.data() + (colon == std::string::npos ? address.size() : colon + 1);
  const auto [end, error] = std::from_chars(begin, address.data() + address.size(), port);
  if (colon == std::string::npos || error != std::errc{} || end != address.data() + address.size() || port == 0 || port > 65535)
    return {StatusCode::invalid_argument, Scope::operation, "CKPT_STORE_ADDRESS=\"{}\" is not host:port", address};
  env.store = {address.substr(0, colon), static_cast<std::uint16_t>(port)};
  env.store_is_hosted = true;
  env.launcher = "ckpt-engine";
  return Status::success();
}

Result<std::string> master_host(const Lookup& lookup, const LauncherEnvironment& env) {
  if (const auto host = lookup("MASTER_ADDR")) return *host;
  for (const char* variable : {"SLURM_STEP_NODELIST", "SLURM_NODELIST", "SLURM_JOB_NODELIST"})
    if (const auto list = lookup(variable); list && env.launcher == "slurm") {
      Result<std::string> first = first_slurm_host(*list);
      return first.ok() ? first : Result<std::string>(first.status().with_note("{}", variable));
    }
  if (env.num_ranks == env.local_num_ranks || env.num_ranks == 1) return std::string("127.0.0.1");
  return Status(StatusCode::invalid_argument, Scope::operation, "MASTER_ADDR is not set, and {} ranks run on several hosts", env.num_ranks)
      .advise("set MASTER_ADDR to the host of rank 0");
}

}  // namespace

Result<std::optional<LauncherEnvironment>> read_launcher_environment(const Lookup& lookup) {
  const Names* names = nullptr;
  for (const Names* candidate : {&kTorchrun, &kOpenMpi, &kSlurm, &kPmi})
    if (names == nullptr && lookup(candidate->rank) && lookup(candidate->num_ranks)) names = candidate;
  if (names == nullptr) {
    // A batch script of Slurm has SLURM_PROCID alone and is one process; of the others both come together.
    for (const Names* candidate : {&kTorchrun, &kOpenMpi, &kPmi})
      if (lookup(candidate->rank)) CKPT_RETURN_IF_ERROR(number(lookup, candidate->num_ranks).status());
    return std::optional<LauncherEnvironment>();
  }
  CKPT_ASSIGN_OR_RETURN(LauncherEnvironment env, read_ranks(lookup, *names));
  if (const auto address = lookup("CKPT_STORE_ADDRESS")) {
    CKPT_RETURN_IF_ERROR(read_hosted_store(*address, env));
    return std::optional<LauncherEnvironment>(std::move(env));
  }
  for (const char* variable : {"TORCHELASTIC_RUN_ID", "SLURM_JOB_ID", "OMPI_MCA_ess_base_jobid"})
    if (const auto job = lookup(variable); job && env.job.empty()) env.job = *job;
  CKPT_ASSIGN_OR_RETURN(env.store.host, master_host(lookup, env));
  CKPT_ASSIGN_OR_RETURN(const std::uint16_t port, port_of(lookup, "MASTER_PORT", kDefaultMasterPort));
  env.store.port = static_cast<std::uint16_t>(port + 1);
  return std::optional<LauncherEnvironment>(std::move(env));
}

Result<std::string> first_slurm_host(std::string_view list) {
  const std::size_t end = list.find_first_of(",[");
  std::string host(list.substr(0, end));
  const auto bad = [&] { return Status(StatusCode::invalid_argument, Scope::operation, "\"{}\" is no list of hosts", list); };
  if (end == std::string_view::npos || list[end] == ',') return host.empty() ? Result<std::string>(bad()) : Result<std::string>(host);
  const std::size_t close = list.find(']', end);
  if (close == std::string_view::npos) return bad();
  const std::string_view first = list.substr(end + 1, list.find_first_of(",-]", end + 1) - end - 1);
  if (first.empty() || first.find_first_not_of("0123456789") != std::string_view::npos) return bad();
  host += first;
  const std::string_view rest = list.substr(close + 1);  // "node[1-2]-ib" ends in "-ib"
  host += rest.substr(0, rest.find(','));
  return host;
}

}  // namespace ckpt
