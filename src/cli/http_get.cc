#include "cli/http_get.h"

#include <httplib.h>

namespace ckpt {

Result<std::string> http_get(const std::string& endpoint, const std::string& path, Deadline deadline) {
  httplib::Client client(endpoint);
  client.set_connection_timeout(std::chrono::milliseconds(deadline.poll_ms()));
  client.set_read_timeout(std::chrono::milliseconds(deadline.poll_ms()));
  const httplib::Result reply = client.Get(path);
  if (!reply) return Status(StatusCode::unavailable, Scope::peer, "GET {}{}: {}", endpoint, path, httplib::to_string(reply.error()));
  if (reply->status != 200) return Status(StatusCode::remote_error, Scope::peer, "GET {}{}: status {}", endpoint, path, reply->status);
  return reply->body;
}

}  // namespace ckpt
