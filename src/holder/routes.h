/// The engine's HTTP interface: SGLang's and vLLM's update calls, and our own views. docs/reference/http.md has it for clients.
#pragma once

#include <string>

namespace httplib {
class Server;
}

namespace ckpt {

class HolderFront;
class HolderMetrics;
struct HolderOptions;

/// Adds every route to `server`. All three must outlive it.
void add_routes(httplib::Server& server, const HolderOptions& options, HolderFront& front, const HolderMetrics& metrics);

}  // namespace ckpt
