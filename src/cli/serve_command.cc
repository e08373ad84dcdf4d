// `ckpt-engine serve`: the persistent parameter server. Its options are settled; the server itself is not offered yet.
#include <CLI/CLI.hpp>
#include <memory>

#include "cli/command.h"

namespace ckpt {
namespace {

struct ServeOptions {
  std::string host = "127.0.0.1";
  std::uint16_t port = 19731;
  std::string uds;
};

}  // namespace

CommandRunner add_serve(CLI::App& app, CommonOptions& common) {
  CLI::App* command = app.add_subcommand("serve", "Keep checkpoints in memory and take updates over HTTP (not offered yet)");
  command->footer("Example:\n  ckpt-engine serve --port 19731");
  add_common_options(*command, common, {"device", "bucket_size", "num_slots", "master_addr", "master_port"});
  const auto options = std::make_shared<ServeOptions>();  // shared: the parser writes to it, the runner is copied
  command->add_option("--host", options->host, "Address to listen on")->capture_default_str();
  command->add_option("--port", options->port, "Port to listen on")->capture_default_str();
  command->add_option("--uds", options->uds, "Unix socket to listen on instead of a port");
  return [options] {
    return Status(StatusCode::unsupported, Scope::operation, "serve: this version has no persistent parameter server")
        .advise("use `ckpt-engine update`, which loads the checkpoint and puts it into the engines in one go");
  };
}

}  // namespace ckpt
