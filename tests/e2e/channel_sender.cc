// Drives an engine's worker through the product's channel, as an update does, with a handle and tensors that the caller chose: for workers that map
// GPU memory, on machines without any. Usage: channel_sender JOB.json | channel_sender recover JOURNAL_DIR. Prints one line of JSON.
#include <unistd.h>

#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/recorder.h"
#include "channel/bucket_session.h"
#include "channel/dialect_memory.h"
#include "channel/engine_driver.h"

namespace ckpt {
namespace {

using nlohmann::json;

struct Job {
  SessionOptions session;
  EngineOptions engine;
  ExportedBuffer buffer;
  std::vector<std::vector<Parameter>> buckets;
  std::vector<std::vector<std::uint64_t>> offsets;
  std::string version;
  Duration connect_timeout;
  int hang_before_bucket;  ///< says so, and waits to be killed
  std::string dialect_file;
};

Duration seconds_of(const json& job, const char* key) { return Duration(static_cast<std::int64_t>(job.at(key).get<double>() * 1e9)); }

Job read_job(const json& from) {
  Job job;
  job.session.socket_dir = from.at("socket_dir");
  job.session.journal_dir = from.at("journal_dir");
  job.session.worker_key = from.at("key");
  job.session.dialect = dialect_from_name(from.at("dialect").get<std::string>()).value();
  job.session.ack_timeout = seconds_of(from, "ack_timeout");
  job.engine.endpoint = from.at("endpoint");
  job.connect_timeout = seconds_of(from, "connect_timeout");
  job.version = from.at("version");
  job.hang_before_bucket = from.at("hang_before_bucket");
  job.dialect_file = from.at("dialect_file");
  std::string handle = from.at("memory");
  handle.resize(64);  // as long as a cudaIpcMemHandle_t
  job.buffer = {handle, -1, from.at("bytes")};
  for (const json& bucket : from.at("buckets")) {
    job.buckets.emplace_back();
    job.offsets.emplace_back();
    for (const json& tensor : bucket) {
      Parameter& parameter = job.buckets.back().emplace_back();
      parameter.name = tensor.at("name");
      parameter.dtype = dtype_from_torch_name(tensor.at("dtype").get<std::string>()).value();
      parameter.shape = tensor.at("shape").get<std::vector<std::uint64_t>>();
      job.offsets.back().push_back(tensor.at("offset"));
    }
  }
  return job;
}

Status offer(BucketSession& session, const Job& job, std::uint32_t bucket, Deadline deadline) {
  if (static_cast<int>(bucket) == job.hang_before_bucket) {
    std::cout << "hanging" << std::endl;
    ::pause();
  }
  std::vector<PlacedTensor> placed;
  for (std::size_t i = 0; i < job.buckets[bucket].size(); ++i) placed.push_back({&job.buckets[bucket][i], job.offsets[bucket][i]});
  return session.offer(bucket, encode_bucket(session.dialect(), bucket, placed, {}), deadline);
}

Status deliver(BucketSession& session, const Job& job, Deadline deadline) {
  CKPT_RETURN_IF_ERROR(session.connect(job.buffer, deadline.capped(job.connect_timeout)));
  for (std::uint32_t bucket = 0; bucket < job.buckets.size(); ++bucket) CKPT_RETURN_IF_ERROR(offer(session, job, bucket, deadline));
  CKPT_RETURN_IF_ERROR(session.release(deadline));
  return session.finish(deadline);
}

/// As often as the worker comes in one call.
Result<int> carry(BucketSession& session, const Job& job, EngineKind kind, Deadline deadline, const AbortSignal& call_over) {
  for (int sessions = 1;; ++sessions) {
    CKPT_RETURN_IF_ERROR(deliver(session, job, deadline));
    if (!may_come_again(kind)) return sessions;
    CKPT_RETURN_IF_ERROR(session.reopen());
    CKPT_ASSIGN_OR_RETURN(const bool again, session.comes_again(deadline, call_over));
    if (!again) return sessions;
  }
}

struct Found {
  Dialect dialect = Dialect::automatic;
  int sessions = 0;
};

Status update(Job job, Found& found) {
  const Deadline deadline = Deadline::after(std::chrono::seconds(30));
  AbortSignal stop;
  AbortSignal call_over;
  CKPT_ASSIGN_OR_RETURN(const auto driver, make_engine_driver(job.engine));
  CKPT_RETURN_IF_ERROR(driver->wait_ready(deadline, stop));
  job.session.expected = recall_dialect(job.dialect_file, driver->identity());
  CKPT_ASSIGN_OR_RETURN(const auto session, open_session(job.session, stop));
  session->engine_asked();
  const UpdateRequest request{{{job.session.worker_key, session->address()}}, job.version};
  CKPT_ASSIGN_OR_RETURN(const auto call, driver->start_update(request, [&](const Status& reply) {
    if (!reply.ok()) stop.trigger(reply);
    call_over.trigger({StatusCode::cancelled, Scope::operation, "the engine has replied"});
  }));
  const Result<int> sessions = carry(*session, job, driver->kind(), deadline, call_over);
  const Status status = sessions.ok() ? call->wait(deadline, stop) : sessions.status();
  found = {session->dialect(), sessions.ok() ? *sessions : 0};
  remember_dialect(job.dialect_file, driver->identity(), status.ok() ? found.dialect : Dialect::automatic);
  if (call->answered()) session->engine_answered();
  if (!status.ok()) session->abort(status);
  return status;
}

json run(int argc, char** argv) {
  if (argc == 3 && std::string_view(argv[1]) == "recover") {
    const Result<int> freed = recover_sessions(argv[2], Deadline::after(std::chrono::seconds(30)));
    return {{"code", name(freed.status().code())}, {"freed", freed.ok() ? *freed : 0}};
  }
  std::ifstream file(argv[1]);
  const Job job = read_job(json::parse(file));
  Found found{job.session.dialect};
  const Status status = update(job, found);
  bool probed = false;
  for (const Event& event : EventRecorder::global().events()) probed = probed || std::string_view(event.what) == "find out the dialect";
  return {
      {"code", name(status.code())}, {"error", status.message()}, {"dialect", name(found.dialect)}, {"probed", probed}, {"sessions", found.sessions}};
}

}  // namespace
}  // namespace ckpt

int main(int argc, char** argv) {
  std::cout << ckpt::run(argc, argv).dump() << std::endl;
  return 0;
}
