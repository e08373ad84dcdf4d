// A rank, or a store, as a process of its own. Prints one line per step: the step, and its status.
//
//   rank_program store NUM_RANKS                  prints "port N", then serves until it is killed
//   rank_program rank PORT RANK NUM_RANKS STEP…   joins first (step "join"); TOKEN in the environment as CKPT_STORE_TOKEN
//
// Steps: barrier, gather=BYTES, agree, disagree, abort, failed (waits for the signal), epoch, renew, leave, hang.
#include <poll.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/options.h"
#include "os/wait_fd.h"
#include "rendezvous/store_server.h"

namespace ckpt {
namespace {

constexpr Duration kInterval = std::chrono::milliseconds(50);
constexpr Duration kTimeout = std::chrono::milliseconds(1500);

Deadline soon() { return Deadline::after(std::chrono::seconds(50)); }

Status hang() {
  const AbortSignal never;
  return pause_for(std::chrono::hours(1), never);
}

Status serve(std::uint32_t num_ranks) {
  StoreServerOptions options;
  options.num_ranks = num_ranks;
  options.token = environment("CKPT_STORE_TOKEN").value_or("");
  options.heartbeat_interval = kInterval;
  options.heartbeat_timeout = kTimeout;
  CKPT_ASSIGN_OR_RETURN(const auto server, StoreServer::start(options, soon()));
  std::printf("port %d\n", server->address().port);
  return hang();
}

Status gather(Group& group, std::size_t bytes) {
  CKPT_ASSIGN_OR_RETURN(const auto all, group.all_gather("bytes", Bytes(bytes, static_cast<std::byte>(group.rank())), soon()));
  for (std::uint32_t rank = 0; rank < all.size(); ++rank)
    if (all[rank] != Bytes(bytes, static_cast<std::byte>(rank))) return {StatusCode::data_corruption, Scope::group, "the part of rank {}", rank};
  return Status::success();
}

Status run_step(Group& group, const std::string& step) {
  const AbortSignal never;
  if (step == "barrier") return group.barrier("step", soon());
  if (step.starts_with("gather=")) return gather(group, std::strtoull(step.c_str() + 7, nullptr, 10));
  if (step == "agree") return group.agree("step", Status::success(), soon());
  if (step == "disagree") return group.agree("step", Status(StatusCode::data_corruption, Scope::operation, "broken").at_stage("load"), soon());
  if (step == "abort") group.abort(Status(StatusCode::remote_error, Scope::peer, "the worker raised").at_stage("hand-over"));
  if (step == "failed") CKPT_RETURN_IF_ERROR(wait_until_ready(group.failed().fd(), POLLIN, soon(), never, "the failure"));
  if (step == "failed") return group.failed().check();
  if (step == "epoch") std::printf("at %llu\n", static_cast<unsigned long long>(group.epoch()));
  if (step == "renew") return group.renew(soon(), never);
  if (step == "leave") return group.leave(soon());
  if (step == "hang") return hang();
  return Status::success();
}

int be_rank(int argc, char** argv) {
  GroupOptions options;
  options.store = {"127.0.0.1", static_cast<std::uint16_t>(std::atoi(argv[2]))};
  options.rank = static_cast<std::uint32_t>(std::atoi(argv[3]));
  options.num_ranks = static_cast<std::uint32_t>(std::atoi(argv[4]));
  options.token = environment("CKPT_STORE_TOKEN").value_or("");
  options.heartbeat_interval = kInterval;
  options.heartbeat_timeout = kTimeout;
  const AbortSignal never;
  const auto group = join_group(options, soon(), never);
  std::printf("join %s\n", group.status().to_string().c_str());
  for (int i = 5; i < argc && group.ok(); ++i) std::printf("%s %s\n", argv[i], run_step(**group, argv[i]).to_string().c_str());
  return group.ok() ? 0 : 1;
}

}  // namespace
}  // namespace ckpt

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  if (argc == 3 && std::string(argv[1]) == "store") return ckpt::serve(static_cast<std::uint32_t>(std::atoi(argv[2]))).ok() ? 0 : 1;
  if (argc >= 5 && std::string(argv[1]) == "rank") return ckpt::be_rank(argc, argv);
  return 2;
}
