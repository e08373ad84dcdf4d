#include "server/session_dirs.h"

namespace ckpt {

Result<SessionOptions> session_options(const Settings& settings) {
  CKPT_ASSIGN_OR_RETURN(const std::string runtime_dir, default_runtime_dir());
  SessionOptions options;
  options.journal_dir = runtime_dir + "/journal";
  options.socket_dir = settings.text("socket_dir").empty() ? runtime_dir + "/sockets" : settings.text("socket_dir");
  options.heartbeat_interval = settings.duration("heartbeat_interval");
  options.heartbeat_timeout = settings.duration("heartbeat_timeout");
  options.ack_timeout = settings.duration("ack_timeout");
  return options;
}

Result<std::string> dialect_file() {
  CKPT_ASSIGN_OR_RETURN(const std::string runtime_dir, default_runtime_dir());
  return runtime_dir + "/dialects";
}

}  // namespace ckpt
