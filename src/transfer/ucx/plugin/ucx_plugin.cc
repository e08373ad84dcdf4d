// The functions behind ucx_abi.h.
#include <cstdio>
#include <cstring>
#include <system_error>

#include "transfer/ucx/plugin/ucx_worker.h"

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
    return ckpt_ucx_fail(error, "get the worker's address", status);
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
    try {
      ucx->thread = std::thread([ucx] { ucx->loop(); });
    } catch (const std::system_error& failure) {
      std::snprintf(error, CKPT_UCX_TEXT_BYTES, "start UCX's thread: %s", failure.what());
      return -1;
    }
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
  if (ucx->destroy() != 0) {                              // quarantined: what the library may still touch stays
    static auto* const kept = new std::vector<CkptUcx*>;  // never freed, and reachable
    static std::mutex mutex;
    const std::lock_guard<std::mutex> lock(mutex);
    kept->push_back(ucx);
    return 1;
  }
  delete ucx;
  return 0;
}

constexpr CkptUcxApi kApi{CKPT_UCX_ABI_VERSION, api_create, api_address, api_connect, api_register,
                          api_unregister,       api_post,   api_abort,   api_lane,    api_destroy};

}  // namespace

extern "C" __attribute__((visibility("default"))) const CkptUcxApi* ckpt_ucx_api(uint32_t abi_version) {
  return abi_version == CKPT_UCX_ABI_VERSION ? &kApi : nullptr;
}
