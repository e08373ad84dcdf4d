// The plug-in behind ucx_abi.h. One thread owns the UCX worker: it starts what others post, makes progress, sleeps when there is none, and ends
// what must end. Facts about UCX 1.13 behind each choice: docs/guide/ucx.md.
#include <poll.h>
#include <sys/eventfd.h>
#include <ucp/api/ucp.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <list>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "transfer/ucx/plugin/ucx_abi.h"

namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kSettleTime = std::chrono::seconds(3);
constexpr int kSpinsBeforeSleep = 20;

int fail(char* error, const char* what, ucs_status_t status) {
  std::snprintf(error, CKPT_UCX_TEXT_BYTES, "%s: %s", what, ucs_status_string(status));
  return -1;
}

}  // namespace

/// One collective's view of UCX.
struct CkptUcx {
  struct Peer {
    CkptUcx* owner = nullptr;
    uint32_t rank = 0;
    ucp_ep_h endpoint = nullptr;
    bool failed = false;
  };
  struct Running {
    CkptUcx* owner;
    CkptUcxOp op;
    void* request = nullptr;
    bool cancelled = false;
  };
  struct Registered {
    size_t bytes;
    ucp_mem_h handle;
  };

  int create(const CkptUcxConfig& config, char* error);
  int destroy();
  int connect(uint32_t peer, const void* address, char* error);
  int register_memory(void* memory, size_t bytes, char* error);
  void unregister_memory(void* memory);
  void post(const CkptUcxOp* ops, size_t count);
  void lane(char* out, size_t bytes);
  void wake();

  // The thread's own.
  void loop();
  void start_posted();
  void start(const CkptUcxOp& op);
  void end(std::list<Running>::iterator running, ucs_status_t status);
  void cancel_where_due();
  void sleep();
  void force_close(Peer& peer);
  void close_endpoints();
  ucp_mem_h handle_of(const void* buffer, size_t bytes);
  static void on_sent(void* request, ucs_status_t status, void* user);
  static void on_received(void* request, ucs_status_t status, const ucp_tag_recv_info_t* info, void* user);
  static void on_peer_error(void* arg, ucp_ep_h endpoint, ucs_status_t status);

  CkptUcxConfig config{};
  std::string tls;
  ucp_context_h context = nullptr;
  ucp_worker_h worker = nullptr;
  int worker_fd = -1;
  int wake_fd = -1;
  std::vector<Peer> peers;
  std::list<Running> running;
  std::vector<void*> closing;  // requests of forced closes
  std::mutex mutex;            // guards what follows
  std::deque<CkptUcxOp> posted;
  std::map<char*, Registered> registered;
  std::atomic<bool> aborted{false};
  std::atomic<bool> quit{false};
  std::atomic<bool> settled{false};
  std::atomic<bool> peer_failed{false};
  std::thread thread;
};

int CkptUcx::create(const CkptUcxConfig& given, char* error) {
  config = given;
  tls = given.tls != nullptr ? given.tls : "";
  ucp_config_t* ucp_config = nullptr;
  if (const ucs_status_t status = ucp_config_read(nullptr, nullptr, &ucp_config); status != UCS_OK)
    return fail(error, "read the UCX configuration", status);
  if (!tls.empty()) static_cast<void>(ucp_config_modify(ucp_config, "TLS", tls.c_str()));
  ucp_params_t params{};
  params.field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_MT_WORKERS_SHARED;
  params.features = UCP_FEATURE_TAG | UCP_FEATURE_WAKEUP;
  params.mt_workers_shared = 1;
  ucs_status_t status = ucp_init(&params, ucp_config, &context);
  ucp_config_release(ucp_config);
  if (status != UCS_OK) return fail(error, "start UCX", status);
  ucp_worker_params_t worker_params{};
  worker_params.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  worker_params.thread_mode = UCS_THREAD_MODE_SERIALIZED;
  status = ucp_worker_create(context, &worker_params, &worker);
  if (status != UCS_OK) return fail(error, "make a UCX worker", status);
  status = ucp_worker_get_efd(worker, &worker_fd);
  if (status != UCS_OK) return fail(error, "get the UCX worker's event descriptor", status);
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

int CkptUcx::connect(uint32_t peer, const void* address, char* error) {
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE | UCP_EP_PARAM_FIELD_ERR_HANDLER;
  params.address = static_cast<const ucp_address_t*>(address);
  params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
  params.err_handler.cb = on_peer_error;
  params.err_handler.arg = &peers[peer];
  const ucs_status_t status = ucp_ep_create(worker, &params, &peers[peer].endpoint);
  return status == UCS_OK ? 0 : fail(error, "connect to a peer", status);
}

int CkptUcx::register_memory(void* memory, size_t bytes, char* error) {
  ucp_mem_map_params_t params{};
  params.field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS | UCP_MEM_MAP_PARAM_FIELD_LENGTH;
  params.address = memory;
  params.length = bytes;
  ucp_mem_h handle = nullptr;
  if (const ucs_status_t status = ucp_mem_map(context, &params, &handle); status != UCS_OK) return fail(error, "register memory", status);
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

void CkptUcx::wake() {
  const uint64_t one = 1;
  static_cast<void>(!::write(wake_fd, &one, sizeof one));
}

void CkptUcx::post(const CkptUcxOp* ops, size_t count) {
  {
    const std::lock_guard<std::mutex> lock(mutex);
    posted.insert(posted.end(), ops, ops + count);
  }
  wake();
}

void CkptUcx::end(std::list<Running>::iterator entry, ucs_status_t status) {
  const CkptUcxOp op = entry->op;
  const bool peer_gone = op.peer < peers.size() && peers[op.peer].failed;
  running.erase(entry);
  int outcome = CKPT_UCX_DONE;
  if (status != UCS_OK)
    outcome = aborted && !peer_gone        ? CKPT_UCX_CANCELLED
              : peer_gone                  ? CKPT_UCX_PEER_FAILED
              : status == UCS_ERR_CANCELED ? CKPT_UCX_CANCELLED
                                           : CKPT_UCX_FAILED;
  config.done(op.user, outcome, op.peer, ucs_status_string(status));
}

void CkptUcx::on_sent(void* request, ucs_status_t status, void* user) {
  auto* entry = static_cast<Running*>(user);
  for (auto it = entry->owner->running.begin(); it != entry->owner->running.end(); ++it)
    if (&*it == entry) {
      entry->owner->end(it, status);
      break;
    }
  ucp_request_free(request);
}

void CkptUcx::on_received(void* request, ucs_status_t status, const ucp_tag_recv_info_t* info, void* user) {
  auto* entry = static_cast<Running*>(user);
  if (status == UCS_OK && info->length != entry->op.bytes) status = UCS_ERR_MESSAGE_TRUNCATED;
  on_sent(request, status, user);
}

void CkptUcx::on_peer_error(void* arg, ucp_ep_h, ucs_status_t) {
  auto* peer = static_cast<Peer*>(arg);
  peer->failed = true;
  peer->owner->peer_failed = true;
}

void CkptUcx::start(const CkptUcxOp& op) {
  running.push_back({this, op, nullptr, false});
  const auto entry = std::prev(running.end());
  Peer& peer = peers[op.peer];
  if (aborted || peer.failed || peer.endpoint == nullptr) return end(entry, UCS_ERR_CANCELED);
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  param.user_data = &*entry;
  if (const ucp_mem_h handle = handle_of(op.buffer, op.bytes)) {
    param.op_attr_mask |= UCP_OP_ATTR_FIELD_MEMH;
    param.memh = handle;
  }
  ucs_status_ptr_t request = nullptr;
  if (op.is_receive != 0) {
    param.cb.recv = on_received;
    request = ucp_tag_recv_nbx(worker, op.buffer, op.bytes, op.tag, ~uint64_t{0}, &param);
  } else {
    param.cb.send = on_sent;
    request = ucp_tag_send_nbx(peer.endpoint, op.buffer, op.bytes, op.tag, &param);
  }
  if (request == nullptr) return end(entry, UCS_OK);
  if (UCS_PTR_IS_ERR(request)) return end(entry, UCS_PTR_STATUS(request));
  entry->request = request;
}

void CkptUcx::start_posted() {
  for (;;) {
    CkptUcxOp op{};
    {
      const std::lock_guard<std::mutex> lock(mutex);
      if (posted.empty()) return;
      op = posted.front();
      posted.pop_front();
    }
    start(op);
  }
}

/// A forced close settles sends whose receiver never comes; it does not settle an unmatched receive: each of those must be cancelled by hand.
void CkptUcx::cancel_where_due() {
  if (!aborted && !peer_failed) return;
  for (Peer& peer : peers)
    if (peer.endpoint != nullptr && (aborted || peer.failed)) force_close(peer);
  for (auto it = running.begin(); it != running.end();) {
    Running& entry = *it++;  // a cancel may end the entry at once
    if (entry.cancelled || entry.request == nullptr || (!aborted && !peers[entry.op.peer].failed)) continue;
    entry.cancelled = true;
    if (entry.op.is_receive != 0) ucp_request_cancel(worker, entry.request);
  }
}

void CkptUcx::force_close(Peer& peer) {
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
  param.flags = UCP_EP_CLOSE_FLAG_FORCE;
  void* request = ucp_ep_close_nbx(peer.endpoint, &param);
  if (UCS_PTR_IS_PTR(request)) closing.push_back(request);
  peer.endpoint = nullptr;
}

void CkptUcx::sleep() {
  if (ucp_worker_arm(worker) != UCS_OK) return;  // events came meanwhile
  pollfd entries[2] = {{worker_fd, POLLIN, 0}, {wake_fd, POLLIN, 0}};
  ::poll(entries, 2, 1000);
  uint64_t ignored = 0;
  if ((entries[1].revents & POLLIN) != 0) static_cast<void>(!::read(wake_fd, &ignored, sizeof ignored));
}

void CkptUcx::loop() {
  int idle = 0;
  while (!quit) {
    start_posted();
    if (ucp_worker_progress(worker) != 0) {
      idle = 0;
    } else if (++idle >= kSpinsBeforeSleep) {
      idle = 0;
      cancel_where_due();
      sleep();
    }
    cancel_where_due();
  }
  aborted = true;
  close_endpoints();
  settled = running.empty();
}

void CkptUcx::close_endpoints() {
  const auto give_up = Clock::now() + kSettleTime;
  while (Clock::now() < give_up) {
    start_posted();
    cancel_where_due();
    ucp_worker_progress(worker);
    bool open = !running.empty();
    for (void* request : closing) open = open || ucp_request_check_status(request) == UCS_INPROGRESS;
    if (!open) break;
    std::this_thread::yield();
  }
  for (void* request : closing) ucp_request_free(request);
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
  for (const auto& [memory, entry] : registered) ucp_mem_unmap(context, entry.handle);
  if (worker != nullptr) ucp_worker_destroy(worker);
  if (context != nullptr) ucp_cleanup(context);
  if (wake_fd >= 0) ::close(wake_fd);
  return 0;
}

namespace {

int api_create(const CkptUcxConfig* config, CkptUcx** out, char* error) {
  auto* ucx = new CkptUcx;
  if (ucx->create(*config, error) == 0) {
    *out = ucx;
    return 0;
  }
  ucx->destroy();
  delete ucx;
  return -1;
}

int api_address(CkptUcx* ucx, void* out, size_t* bytes, char* error) {
  ucp_address_t* address = nullptr;
  size_t size = 0;
  if (const ucs_status_t status = ucp_worker_get_address(ucx->worker, &address, &size); status != UCS_OK)
    return fail(error, "get the worker's address", status);
  const bool fits = size <= *bytes;
  if (fits) std::memcpy(out, address, size);
  *bytes = size;
  ucp_worker_release_address(ucx->worker, address);
  if (!fits) std::snprintf(error, CKPT_UCX_TEXT_BYTES, "an address of %zu bytes is too long", size);
  return fits ? 0 : -1;
}

/// All peers are connected before the thread starts, so that nothing else touches the worker.
int api_connect(CkptUcx* ucx, uint32_t peer, const void* address, size_t, char* error) {
  if (address == nullptr) {
    ucx->thread = std::thread([ucx] { ucx->loop(); });
    return 0;
  }
  return ucx->connect(peer, address, error);
}

int api_register(CkptUcx* ucx, void* memory, size_t bytes, char* error) { return ucx->register_memory(memory, bytes, error); }
void api_unregister(CkptUcx* ucx, void* memory) { ucx->unregister_memory(memory); }
void api_post(CkptUcx* ucx, const CkptUcxOp* ops, size_t count) { ucx->post(ops, count); }
void api_abort(CkptUcx* ucx) {
  ucx->aborted = true;
  ucx->wake();
}
void api_lane(CkptUcx* ucx, char* out, size_t bytes) { ucx->lane(out, bytes); }
int api_destroy(CkptUcx* ucx) {
  if (ucx->destroy() != 0) return 1;  // quarantined: what the library may still touch stays
  delete ucx;
  return 0;
}

constexpr CkptUcxApi kApi{CKPT_UCX_ABI_VERSION, api_create, api_address, api_connect, api_register,
                          api_unregister,       api_post,   api_abort,   api_lane,    api_destroy};

}  // namespace

extern "C" __attribute__((visibility("default"))) const CkptUcxApi* ckpt_ucx_api(uint32_t abi_version) {
  return abi_version == CKPT_UCX_ABI_VERSION ? &kApi : nullptr;
}
