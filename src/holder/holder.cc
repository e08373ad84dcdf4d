#include "holder/holder.h"

#include <unistd.h>

#include <cstdlib>

#include "base/log.h"
#include "holder/front.h"
#include "holder/http_server.h"
#include "holder/metrics.h"
#include "holder/routes.h"
#include "os/output_file.h"
#include "os/wait_fd.h"

namespace ckpt {
namespace {

constexpr Duration kLastRequests = std::chrono::milliseconds(2500);  // for clients to take their last replies
constexpr Duration kPause = std::chrono::hours(1);

// Removed at the end, so that nobody takes an engine that has gone for a living one.
class PortFile {
 public:
  ~PortFile() { remove(); }
  Status write(const std::string& path, int port) {
    CKPT_RETURN_IF_ERROR(write_small_file(path, fmt::format("{}\n", port)).with_note("the engine's port"));
    path_ = path;
    return Status::success();
  }
  void remove() {
    if (!path_.empty()) ::unlink(path_.c_str());
    path_.clear();
  }

 private:
  std::string path_;
};

/// Everything that lives as long as the engine. Destroyed from the end: HTTP first, then the front and its workers.
struct Engine {
  HolderMetrics metrics;
  std::unique_ptr<HolderFront> front;
  std::unique_ptr<HttpServer> tcp;
  std::unique_ptr<HttpServer> unix;
  PortFile port_file;
};

Status listen(Engine& engine, const HolderOptions& options) {
  const auto routes = [&](httplib::Server& server) { add_routes(server, options, *engine.front, engine.metrics); };
  CKPT_ASSIGN_OR_RETURN(engine.tcp, HttpServer::start({options.host, options.port, ""}, routes));
  if (!options.unix_socket.empty()) {
    CKPT_ASSIGN_OR_RETURN(engine.unix, HttpServer::start({"", 0, options.unix_socket}, routes));
  }
  if (!options.port_file.empty()) CKPT_RETURN_IF_ERROR(engine.port_file.write(options.port_file, engine.tcp->port()));
  return Status::success();
}

Status stop_http(Engine& engine) {
  const Deadline deadline = Deadline::after(kLastRequests);
  Status status = engine.tcp->stop(deadline);
  if (engine.unix)
    if (const Status other = engine.unix->stop(deadline); status.ok()) status = other;
  return status;
}

}  // namespace

Status run_holder(const HolderOptions& options, const AbortSignal& interrupt, const std::function<void(const HolderAddress&)>& on_listening) {
  Engine engine;
  CKPT_ASSIGN_OR_RETURN(engine.front, HolderFront::start(options, engine.metrics));
  CKPT_RETURN_IF_ERROR(listen(engine, options));
  if (options.in_place) log_warning("updates happen in place: one that fails leaves nothing whole (state torn) until the next one succeeds");
  if (on_listening) on_listening({options.host, engine.tcp->port(), options.unix_socket});
  while (pause_for(kPause, interrupt).ok()) {
  }
  engine.front->stop();
  const Status stopped = stop_http(engine);
  if (stopped.ok()) return Status::success();
  // A client that sends a byte a second keeps a handler busy for ever, and the library cannot end it. Everything else is done: leave.
  log_warning("{}", stopped.to_string());
  engine.port_file.remove();
  engine.front->join();
  std::_Exit(0);
}

}  // namespace ckpt
