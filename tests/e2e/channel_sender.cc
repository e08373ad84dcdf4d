// Drives an engine's worker through the product's channel, as an update does, with a handle and tensors that the caller chose: for workers that map
// GPU memory, on machines without any. Usage: channel_sender JOB.json | channel_sender recover JOURNAL_DIR. Prints one line of JSON.
#include <unistd.h>

#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "channel/bucket_session.h"
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
};

Duration seconds_of(const json& job, const char* key) { return Duration(static_cast<std::int64_t>(job.at(key).get<double>() * 1e9)); }

Dialect dialect_of(const std::string& name) { return name == "1" ? Dialect::one : name == "2" ? Dialect::two : Dialect::automatic; }

const char* name_of(Dialect dialect) { return dialect == Dialect::one ? "1" : dialect == Dialect::two ? "2" : "auto"; }

Job read_job(const json& from) {
  Job job;
  job.session.socket_dir = from.at("socket_dir");
  job.session.journal_dir = from.at("journal_dir");
  job.session.worker_key = from.at("key");
  job.session.dialect = dialect_of(from.at("dialect"));
  job.session.ack_timeout = seconds_of(from, "ack_timeout");
  job.engine.endpoint = from.at("endpoint");
  job.connect_timeout = seconds_of(from, "connect_timeout");
  job.version = from.at("version");
  job.hang_before_bucket = from.at("hang_before_bucket");
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

Status carry(BucketSession& session, EngineCall& call, const Job& job, Deadline deadline, const AbortSignal& stop) {
  CKPT_RETURN_IF_ERROR(session.connect(job.buffer, deadline.capped(job.connect_timeout)));
  for (std::uint32_t bucket = 0; bucket < job.buckets.size(); ++bucket) CKPT_RETURN_IF_ERROR(offer(session, job, bucket, deadline));
  CKPT_RETURN_IF_ERROR(session.release(deadline));
  CKPT_RETURN_IF_ERROR(session.finish(deadline));
  return call.wait(deadline, stop);
}

Status update(const Job& job, Dialect& dialect) {
  const Deadline deadline = Deadline::after(std::chrono::seconds(30));
  AbortSignal stop;
  CKPT_ASSIGN_OR_RETURN(const auto driver, make_engine_driver(job.engine));
  CKPT_RETURN_IF_ERROR(driver->wait_ready(deadline, stop));
  CKPT_ASSIGN_OR_RETURN(const auto session, open_session(job.session, stop));
  session->engine_asked();
  const UpdateRequest request{{{job.session.worker_key, session->address()}}, job.version};
  CKPT_ASSIGN_OR_RETURN(const auto call, driver->start_update(request, [&stop](const Status& reply) {
    if (!reply.ok()) stop.trigger(reply);
  }));
  const Status status = carry(*session, *call, job, deadline, stop);
  dialect = session->dialect();
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
  Dialect dialect = job.session.dialect;
  const Status status = update(job, dialect);
  return {{"code", name(status.code())}, {"error", status.message()}, {"dialect", name_of(dialect)}};
}

}  // namespace
}  // namespace ckpt

int main(int argc, char** argv) {
  std::cout << ckpt::run(argc, argv).dump() << std::endl;
  return 0;
}
