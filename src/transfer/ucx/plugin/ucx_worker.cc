// Set-up and end: context, worker, endpoints, registered memory.
#include "transfer/ucx/plugin/ucx_worker.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

int ckpt_ucx_fail(char* error, const char* what, ucs_status_t status) {
  std::snprintf(error, CKPT_UCX_TEXT_BYTES, "%s: %s", what, ucs_status_string(status));
  return -1;
}

int CkptUcx::create(const CkptUcxConfig& given, char* error) {
  config = given;
  tls = given.tls != nullptr ? given.tls : "";
  ucs_status_t status = create_worker(error);
  if (status != UCS_OK && given.tls_is_fixed == 0) {
    // Most likely its FIFO did not fit into /dev/shm, which has 64 MB in a container unless told otherwise: other transports carry the messages.
    destroy_worker();
    tls = "^posix";
    status = create_worker(error);
  }
  if (status != UCS_OK) return -1;
  status = ucp_worker_get_efd(worker, &worker_fd);
  if (status != UCS_OK) return ckpt_ucx_fail(error, "get the UCX worker's event descriptor", status);
  wake_fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd < 0) {
    std::snprintf(error, CKPT_UCX_TEXT_BYTES, "make an event descriptor: %s", std::strerror(errno));
    return -1;
  }
  peers.resize(config.num_ranks);
  for (uint32_t rank = 0; rank < config.num_ranks; ++rank) {
    peers[rank].owner = this;
    peers[rank].rank = rank;
  }
  return 0;
}

ucs_status_t CkptUcx::create_worker(char* error) {
  const auto failed = [error](const char* what, ucs_status_t status) {
    ckpt_ucx_fail(error, what, status);
    return status;
  };
  ucp_config_t* ucp_config = nullptr;
  ucs_status_t status = ucp_config_read(nullptr, nullptr, &ucp_config);
  if (status != UCS_OK) return failed("read the UCX configuration", status);
  if (!tls.empty()) static_cast<void>(ucp_config_modify(ucp_config, "TLS", tls.c_str()));
  ucp_params_t params{};
  params.field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_MT_WORKERS_SHARED;
  params.features = UCP_FEATURE_TAG | UCP_FEATURE_WAKEUP;
  params.mt_workers_shared = 1;
  status = ucp_init(&params, ucp_config, &context);
  ucp_config_release(ucp_config);
  if (status != UCS_OK) return failed("start UCX", status);
  ucp_worker_params_t worker_params{};
  worker_params.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  worker_params.thread_mode = UCS_THREAD_MODE_SERIALIZED;
  status = ucp_worker_create(context, &worker_params, &worker);
  return status == UCS_OK ? status : failed("make a UCX worker", status);
}

void CkptUcx::destroy_worker() {
  if (worker != nullptr) ucp_worker_destroy(worker);
  if (context != nullptr) ucp_cleanup(context);
  worker = nullptr;
  context = nullptr;
}

int CkptUcx::connect(uint32_t peer, const void* address, char* error) {
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE | UCP_EP_PARAM_FIELD_ERR_HANDLER;
  params.address = static_cast<const ucp_address_t*>(address);
  params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
  params.err_handler.cb = on_peer_error;
  params.err_handler.arg = &peers[peer];
  const ucs_status_t status = ucp_ep_create(worker, &params, &peers[peer].endpoint);
  peers[peer].known = status == UCS_OK;
  return status == UCS_OK ? 0 : ckpt_ucx_fail(error, "connect to a peer", status);
}

int CkptUcx::register_memory(void* memory, size_t bytes, char* error) {
  {
    const std::lock_guard<std::mutex> lock(mutex);
    const auto found = registered.find(static_cast<char*>(memory));
    if (found != registered.end() && found->second.bytes == bytes) return 0;
  }
  unregister_memory(memory);  // another buffer was there before
  ucp_mem_map_params_t params{};
  params.field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS | UCP_MEM_MAP_PARAM_FIELD_LENGTH;
  params.address = memory;
  params.length = bytes;
  ucp_mem_h handle = nullptr;
  if (const ucs_status_t status = ucp_mem_map(context, &params, &handle); status != UCS_OK) return ckpt_ucx_fail(error, "register memory", status);
  const std::lock_guard<std::mutex> lock(mutex);
  registered[static_cast<char*>(memory)] = {bytes, handle};
  return 0;
}

void CkptUcx::unregister_memory(void* memory) {
  ucp_mem_h handle = nullptr;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    const auto found = registered.find(static_cast<char*>(memory));
    if (found == registered.end()) return;
    handle = found->second.handle;
    registered.erase(found);
  }
  ucp_mem_unmap(context, handle);
}

ucp_mem_h CkptUcx::handle_of(const void* buffer, size_t bytes) {
  const std::lock_guard<std::mutex> lock(mutex);
  auto* begin = static_cast<char*>(const_cast<void*>(buffer));
  auto after = registered.upper_bound(begin);
  if (after == registered.begin()) return nullptr;
  --after;
  return begin + bytes <= after->first + after->second.bytes ? after->second.handle : nullptr;
}

void CkptUcx::lane(char* out, size_t bytes) {
  std::snprintf(out, bytes, "ucx");
  ucp_ep_h endpoint = nullptr;
  for (const Peer& peer : peers)
    if (peer.endpoint != nullptr) endpoint = peer.endpoint;
  char* text = nullptr;
  size_t size = 0;
  FILE* stream = endpoint != nullptr ? ::open_memstream(&text, &size) : nullptr;
  if (stream == nullptr) return;
  ucp_ep_print_info(endpoint, stream);
  std::fclose(stream);
  std::string found;
  for (const char* name : {"posix", "sysv", "cma", "xpmem", "tcp", "rc_verbs", "rc_mlx5", "dc_mlx5", "ud_"})
    if (std::strstr(text, name) != nullptr) found += (found.empty() ? " " : "+") + std::string(name);
  std::free(text);
  std::snprintf(out, bytes, "ucx%s", found.c_str());
}

int CkptUcx::destroy() {
  quit = true;
  if (thread.joinable()) {
    wake();
    thread.join();
    if (!settled) return 1;
  }
  for (const Peer& peer : peers)
    if (peer.known && !(peer.heard && flushed)) return 1;  // UCX 1.13 ends the process when it is ended in the middle of connecting
  for (const auto& [memory, entry] : registered) ucp_mem_unmap(context, entry.handle);
  destroy_worker();
  if (wake_fd >= 0) ::close(wake_fd);
  return 0;
}
