/// The C interface between the product and its UCX plug-in, libckpt_ucx.so: tagged sends and receives on host memory, nothing else.
/// The plug-in is linked to libucp and loaded when first needed: ucp_init is inline, so libucp itself cannot be looked up by name.
#pragma once

#include <stddef.h>
#include <stdint.h>

// NOLINTBEGIN(modernize-use-using): C reads this header too
#ifdef __cplusplus
extern "C" {
#endif

#define CKPT_UCX_ABI_VERSION 3u
#define CKPT_UCX_TEXT_BYTES 512u

/// How an operation ended.
enum CkptUcxOutcome {
  CKPT_UCX_DONE = 0,
  CKPT_UCX_CANCELLED = 1,    ///< by abort
  CKPT_UCX_PEER_FAILED = 2,  ///< the peer is gone or cut off
  CKPT_UCX_FAILED = 3,
};

typedef struct CkptUcx CkptUcx;

/// One tagged message, or a flush. `buffer` is in use until `done` has been called for it, exactly once, on the plug-in's thread.
enum CkptUcxKind { CKPT_UCX_SEND = 0, CKPT_UCX_RECEIVE = 1, CKPT_UCX_FLUSH = 2 };

typedef struct {
  int kind;  ///< a flush ends when all that was sent before, UCX's own messages too, has left; of the rest it uses `user` only
  uint32_t peer;
  uint64_t tag;
  void* buffer;
  size_t bytes;
  void* user;  ///< given back to `done`
} CkptUcxOp;

typedef struct {
  uint32_t num_ranks;
  const char* tls;                                                         ///< UCX_TLS to use, or empty
  int tls_is_fixed;                                                        ///< a user chose the transports: no others when these cannot start
  void (*done)(void* user, int outcome, uint32_t peer, const char* text);  ///< must not block
} CkptUcxConfig;

/// All functions that return int give 0 or -1 with a text in `error` (CKPT_UCX_TEXT_BYTES of it).
typedef struct {
  uint32_t abi_version;
  int (*create)(const CkptUcxConfig* config, CkptUcx** out, char* error);
  /// The address that peers connect to. `bytes`: room on entry, size on return.
  int (*address)(CkptUcx* ucx, void* out, size_t* bytes, char* error);
  /// An endpoint to each peer; then, once, with a null address: starts the thread.
  int (*connect)(CkptUcx* ucx, uint32_t peer, const void* address, size_t bytes, char* error);
  int (*register_memory)(CkptUcx* ucx, void* memory, size_t bytes, char* error);
  void (*unregister_memory)(CkptUcx* ucx, void* memory);
  /// Starts operations, from any thread, in order.
  void (*post)(CkptUcx* ucx, const CkptUcxOp* ops, size_t count);
  /// Ends all operations, those posted later too. From any thread; returns at once.
  void (*abort)(CkptUcx* ucx);
  /// The transports in use, as text.
  void (*lane)(CkptUcx* ucx, char* out, size_t bytes);
  /// Waits at most a few seconds for the operations to end. 1: some did not, and their memory and the library's stay as they are for good.
  int (*destroy)(CkptUcx* ucx);
} CkptUcxApi;

/// The only exported symbol. NULL when `abi_version` is not served.
typedef const CkptUcxApi* (*CkptUcxGetApi)(uint32_t abi_version);

#ifdef __cplusplus
}
#endif
// NOLINTEND(modernize-use-using)
