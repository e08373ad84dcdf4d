/// The state of one collective inside the plug-in. One thread owns the UCX worker: it starts what others post, makes progress, sleeps when there is
/// none, and ends what must end. Facts about UCX behind each choice: docs/guide/ucx.md.
#pragma once

#include <ucp/api/ucp.h>

#include <atomic>
#include <deque>
#include <list>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "transfer/ucx/plugin/ucx_abi.h"

/// Puts the reason into a caller's text, and returns -1.
int ckpt_ucx_fail(char* error, const char* what, ucs_status_t status);

/// One collective's view of UCX.
struct CkptUcx {
  struct Peer {
    CkptUcx* owner = nullptr;
    uint32_t rank = 0;
    ucp_ep_h endpoint = nullptr;
    bool failed = false;
    bool known = false;
    bool heard = false;  // a message of it has come: both ends of the connection stand
  };
  struct Running {
    CkptUcx* owner;
    CkptUcxOp op;
    void* request = nullptr;
    bool cancelled = false;
    bool* ended = nullptr;  // while it is being started: set when it ends, since the entry is gone then
  };
  struct Registered {
    size_t bytes;
    ucp_mem_h handle;
  };

  int create(const CkptUcxConfig& config, char* error);
  ucs_status_t create_worker(char* error);  ///< context and worker over the transports in `tls`; destroy_worker() cleans up after a failure too
  void destroy_worker();
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
  bool flushed = false;        // once: connected on both sides, as far as this one can tell
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
