// bench: receiver channel device manifest os base
// A bucket's handshake without its copy: offer to answer over the real session, from this process to a receiver in another that copies nothing,
// beside a plain loop that sends the same bytes back and forth over the same kind of ZeroMQ sockets.
//   handshake_bench [BUCKETS]
#include <zmq.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include "base/bytes.h"
#include "channel/bucket_session.h"
#include "device/host/host_device.h"
#include "os/process.h"
#include "receiver/receiver.h"

namespace ckpt {
namespace {

const AbortSignal never;
Deadline soon() { return Deadline::after(std::chrono::seconds(120)); }

void need(const Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "handshake_bench: %s\n", status.to_string().c_str());
  std::exit(1);
}

template <typename T>
T need(Result<T> result) {
  need(result.status());
  return std::move(result).value();
}

/// What an engine's worker does with a bucket, without the copy.
class NoCopy final : public UpdateSink {
 public:
  [[nodiscard]] Status apply(std::span<const ReceivedTensor>) override { return Status::success(); }
  void released() override {}
  [[nodiscard]] Status prepare() override { return Status::success(); }
};

int run_receiver(const std::string& address) {
  NoCopy sink;
  ReceiveOptions options;
  options.address = address;
  need(receive_update(options, sink, soon(), never));
  return 0;
}

int run_plain_receiver(const std::string& address) {
  void* context = zmq_ctx_new();
  void* socket = zmq_socket(context, ZMQ_REP);
  zmq_connect(socket, address.c_str());
  std::vector<char> message(1 << 20);
  while (zmq_recv(socket, message.data(), message.size(), 0) > 0) zmq_send(socket, "", 0, 0);
  return 0;
}

Process start(const char* role, const std::string& address) {
  return need(Process::spawn({.command = {own_executable()}, .environment = {fmt::format("HANDSHAKE_BENCH_{}={}", role, address)}}));
}

double microseconds(TimePoint begin) { return seconds(Clock::real().now() - begin) * 1e6; }

/// A bucket of `num_tensors` empty slots of 256 bytes, as a plan would offer it.
struct Offered {
  explicit Offered(std::size_t num_tensors) {
    for (std::size_t i = 0; i < num_tensors; ++i)
      parameters.push_back({fmt::format("model.layers.{}.mlp.up_proj.weight", i), DType::BF16, {128}, 256});
    for (std::size_t i = 0; i < num_tensors; ++i) placed.push_back({&parameters[i], i * 256});
  }
  std::vector<Parameter> parameters;
  std::vector<PlacedTensor> placed;
};

std::vector<double> of_session(const std::string& directory, const Offered& offered, std::uint32_t rounds) {
  const auto device = need(make_host_device({0, 1}));
  const auto buffer = need(device->allocate(offered.placed.size() * 256));
  SessionOptions options;
  options.socket_dir = directory;
  options.journal_dir = directory;
  options.worker_key = device->key();
  options.dialect = Dialect::native;
  const auto session = need(open_session(options, never));
  Process worker = start("ADDRESS", session->address());
  need(session->connect(buffer->exported(), soon()));
  std::vector<double> times;
  std::vector<std::string> messages;
  for (std::uint32_t i = 0; i < rounds; ++i) messages.push_back(encode_bucket(Dialect::native, i, offered.placed, {}));
  for (std::uint32_t i = 0; i < rounds; ++i) {
    const TimePoint begin = Clock::real().now();
    need(session->offer(i, messages[i], soon()));
    times.push_back(microseconds(begin));
  }
  need(session->release(soon()));
  need(session->finish(soon()));
  need(worker.wait(soon(), never).status());
  return times;
}

std::vector<double> of_plain_loop(const std::string& directory, const Offered& offered, std::uint32_t rounds) {
  const std::string address = "ipc://" + directory + "/plain";
  void* context = zmq_ctx_new();
  void* socket = zmq_socket(context, ZMQ_REQ);
  const int at_once = 0;
  zmq_setsockopt(socket, ZMQ_LINGER, &at_once, sizeof at_once);
  if (zmq_bind(socket, address.c_str()) != 0) need(Status(StatusCode::internal, Scope::process, "bind {}: {}", address, zmq_strerror(zmq_errno())));
  const Process worker = start("PLAIN", address);
  const std::string message = encode_bucket(Dialect::native, 0, offered.placed, {});
  char answer[8];
  std::vector<double> times;
  for (std::uint32_t i = 0; i <= rounds; ++i) {
    const TimePoint begin = Clock::real().now();
    zmq_send(socket, message.data(), message.size(), 0);
    zmq_recv(socket, answer, sizeof answer, 0);
    if (i > 0) times.push_back(microseconds(begin));  // the first one waits for the connection
  }
  zmq_close(socket);
  zmq_ctx_term(context);
  return times;
}

void print(const char* what, std::vector<double> times) {
  std::sort(times.begin(), times.end());
  const auto at = [&](double share) { return times[static_cast<std::size_t>(share * static_cast<double>(times.size() - 1))]; };
  std::printf("  %-28s median %7.1f us   90 %% below %7.1f us   99 %% below %7.1f us\n", what, at(0.5), at(0.9), at(0.99));
}

int run(std::uint32_t rounds) {
  std::string directory = (std::filesystem::temp_directory_path() / "handshake-bench-XXXXXX").string();
  if (::mkdtemp(directory.data()) == nullptr) need(Status(StatusCode::internal, Scope::process, "no temporary directory"));
  for (const std::size_t num_tensors : {1u, 180u}) {
    const Offered offered(num_tensors);
    std::printf("%u buckets of %zu tensors, messages of %zu bytes\n", rounds, num_tensors,
                encode_bucket(Dialect::native, 0, offered.placed, {}).size());
    print("plain REQ and REP, ipc", of_plain_loop(directory, offered, rounds));
    print("offer to answer", of_session(directory, offered, rounds));
  }
  std::filesystem::remove_all(directory);
  return 0;
}

}  // namespace
}  // namespace ckpt

int main(int argc, char** argv) {
  if (const char* address = std::getenv("HANDSHAKE_BENCH_ADDRESS")) return ckpt::run_receiver(address);
  if (const char* address = std::getenv("HANDSHAKE_BENCH_PLAIN")) return ckpt::run_plain_receiver(address);
  return ckpt::run(argc > 1 ? static_cast<std::uint32_t>(std::atoi(argv[1])) : 2000);
}
