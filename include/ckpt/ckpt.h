/// The C interface: what other languages link. Plain values, opaque objects, no callbacks: whoever calls polls, so that a caller with an interpreter
/// (Python) keeps its signals and its lock.
///
/// Errors: a function that may fail returns a code of ckpt/status.h (0 is ok) and, where `error` is not null, a description that the caller frees
/// with ckpt_error_free. On an error nothing else was written. Text is UTF-8; a text that a function returns lives as long as the object it came
/// from, or until the next call on that object, whichever its comment says. Objects: one thread at a time each; `…_cancel` from any. Null objects are
/// an error of the caller's, but for `…_free` and `…_close`, which take them.
#pragma once

#include <stdint.h>

#if defined(__GNUC__)
#define CKPT_API __attribute__((visibility("default")))
#else
#define CKPT_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

// NOLINTBEGIN(readability-identifier-naming,modernize-use-using): C

/// Grows with every change that breaks a caller.
#define CKPT_ABI_VERSION 1
CKPT_API int32_t ckpt_abi_version(void);
/// "0.1.0".
CKPT_API const char* ckpt_version(void);

/* ---- errors -------------------------------------------------------------------------------------------------------------------------------------
 */

typedef struct ckpt_error ckpt_error;
/// The code's name: "not_found". Static. Null for a number that is no code.
CKPT_API const char* ckpt_code_name(int32_t code);
CKPT_API int32_t ckpt_error_code(const ckpt_error* error);
/// As a person reads it, with stage, rank and advice: `unavailable: rank 2, hand-over: …`. These live as long as the error.
CKPT_API const char* ckpt_error_text(const ckpt_error* error);
CKPT_API const char* ckpt_error_message(const ckpt_error* error);  ///< the message alone
CKPT_API const char* ckpt_error_stage(const ckpt_error* error);    ///< "load", …, or ""
CKPT_API const char* ckpt_error_advice(const ckpt_error* error);   ///< or ""
CKPT_API int32_t ckpt_error_rank(const ckpt_error* error);         ///< or -1
CKPT_API void ckpt_error_free(ckpt_error* error);

/* ---- operations: work that takes time ------------------------------------------------------------------------------------------------------------
 */

/// What a call that takes time is doing. Made by the functions that end in _start; freed by the caller, before the object that it came from.
typedef struct ckpt_operation ckpt_operation;

typedef enum ckpt_operation_state {
  CKPT_RUNNING = 0,
  CKPT_DONE = 1,          ///< ckpt_operation_result tells how it ended
  CKPT_CALL_ENGINES = 2,  ///< an update: the caller is to make the engines' update call now, with ckpt_operation_addresses, and then say
                          ///< ckpt_operation_engines_replied; told once, the operation goes on meanwhile
} ckpt_operation_state;

/// Waits until there is something to say, at most `timeout_ms` (0: does not wait).
CKPT_API ckpt_operation_state ckpt_operation_wait(ckpt_operation* operation, uint32_t timeout_ms);
/// How far the stage under way is: its name (static; "" before the first), bytes done and bytes in all.
CKPT_API void ckpt_operation_progress(ckpt_operation* operation, const char** stage, uint64_t* done_bytes, uint64_t* total_bytes);
/// After CKPT_CALL_ENGINES: a JSON array of [device key, ZeroMQ endpoint], one a rank, in rank order. Lives as long as the operation.
CKPT_API const char* ckpt_operation_addresses(ckpt_operation* operation);
/// How the engines' update call went: null for well, else why not. A call that failed ends the update on every rank.
CKPT_API void ckpt_operation_engines_replied(ckpt_operation* operation, const char* error_text);
/// Asks it to end: it does within a moment, with `cancelled`. From any thread.
CKPT_API void ckpt_operation_cancel(ckpt_operation* operation, const char* reason);
/// After CKPT_DONE: how it ended. `text` (may be null): what it gave, as the function that started it says; lives as long as the operation.
CKPT_API int32_t ckpt_operation_result(ckpt_operation* operation, const char** text, ckpt_error** error);
/// Cancels what still runs, and waits until it has ended.
CKPT_API void ckpt_operation_free(ckpt_operation* operation);

/* ---- the parameter server: one rank
 * ---------------------------------------------------------------------------------------------------------------- */

typedef struct ckpt_server ckpt_server;

/// A tensor in the caller's memory: row-major, without gaps.
typedef struct ckpt_tensor {
  const char* name;
  const char* dtype;      ///< as safetensors writes it: "BF16", "F8_E4M3"
  const uint64_t* shape;  ///< `num_dimensions` of them; null for 0
  uint32_t num_dimensions;
  int32_t on_device;  ///< 0: host memory. 1: memory of this rank's GPU, whose work on it has ended
  const void* data;
  uint64_t bytes;  ///< checked against dtype and shape
} ckpt_tensor;

/// `settings`: a JSON object of options by their names (docs/reference/options.md), {"bucket_size": "2GiB", "device": "host"}; null: none. What is
/// not named comes from the environment. Does not wait, and makes no connection.
CKPT_API int32_t ckpt_server_create(const char* settings, ckpt_server** server, ckpt_error** error);
/// Ends the operations' thread. Memory of the pool is given back.
CKPT_API void ckpt_server_free(ckpt_server* server);

/// Makes this process a rank: joins the group and finds the device. `place`: a JSON object {"rank", "world_size", "master_addr", "master_port"}; what
/// it lacks comes from the launcher's environment; alone without either. A collective call. Text: {"rank", "world_size", "device_key", "device"}.
CKPT_API int32_t ckpt_server_join_start(ckpt_server* server, const char* place, uint32_t timeout_ms, ckpt_operation** operation, ckpt_error** error);
/// Leaves the group in peace and gives up what was registered; the server may join again. Text: "".
CKPT_API int32_t ckpt_server_leave_start(ckpt_server* server, uint32_t timeout_ms, ckpt_operation** operation, ckpt_error** error);

/// Where this rank's part of a checkpoint comes from. Exactly one of `directory` (all ranks name it: striped over them) or files and tensors (this
/// rank's own share, which may be empty: stays whole on it).
typedef struct ckpt_source {
  const char* directory;
  const char* const* files;  ///< safetensors files
  uint32_t num_files;
  const ckpt_tensor* tensors;  ///< copied before the operation ends; not touched afterwards
  uint32_t num_tensors;
} ckpt_source;

/// Loads this rank's part. `options`: a JSON object {"verify": false, "adopt": false}, or null. `source` and what it points at must live until the
/// operation has ended. Text: "".
CKPT_API int32_t ckpt_server_register_start(ckpt_server* server, const char* name, const ckpt_source* source, const char* options,
                                            uint32_t timeout_ms, ckpt_operation** operation, ckpt_error** error);
/// Gives the memory back to the pool, for the next checkpoint; with `free_memory` the pool gives the system all that no checkpoint uses. The pool
/// keeps a version that is in service, and those before it that the setting keep_versions tells, where memory allows.
CKPT_API int32_t ckpt_server_unregister(ckpt_server* server, const char* name, int32_t free_memory, ckpt_error** error);
/// Versions that the pool keeps cannot be gone back to any more; the pool gives the system all that no checkpoint uses.
CKPT_API int32_t ckpt_server_forget_versions(ckpt_server* server, ckpt_error** error);
/// Tells every rank what all hold. A collective call. Text: "".
CKPT_API int32_t ckpt_server_gather_metas_start(ckpt_server* server, const char* name, uint32_t timeout_ms, ckpt_operation** operation,
                                                ckpt_error** error);
/// The metas as JSON (docs/format/metas.md). Lives until the next call of this function.
CKPT_API int32_t ckpt_server_metas(ckpt_server* server, const char* name, const char** json, ckpt_error** error);
/// Puts a checkpoint into the engines. `target`: a JSON object {"endpoints": ["http://…"], "engine": "auto", "inference_parallel_size": 1,
/// "weight_version": "", "uds": "", "dialect": "auto", "keep_slots": false}; without "endpoints" the caller makes the engines' call itself: each
/// rank's operation says CKPT_CALL_ENGINES once; with "ranks": [0, …] only theirs do and only their workers get the weights, the others hold and
/// send (their addresses are empty). A collective call. Text: the report, as `ckpt-engine update --json` prints it.
CKPT_API int32_t ckpt_server_update_start(ckpt_server* server, const char* name, const char* target, uint32_t timeout_ms, ckpt_operation** operation,
                                          ckpt_error** error);
/// Puts the version before into the engines: after an update that failed the one that went well last, else the one before that. Arguments, text and
/// manner as ckpt_server_update_start; an empty "weight_version" is the one that it had. failed_precondition: a rank has it no more.
CKPT_API int32_t ckpt_server_rollback_start(ckpt_server* server, const char* target, uint32_t timeout_ms, ckpt_operation** operation,
                                            ckpt_error** error);
/// Returns when every rank has called it. Text: "".
CKPT_API int32_t ckpt_server_barrier_start(ckpt_server* server, const char* name, uint32_t timeout_ms, ckpt_operation** operation,
                                           ckpt_error** error);

/* ---- the receiver: one worker of an engine, one update
 * ------------------------------------------------------------------------------------------------ */

typedef struct ckpt_receiver ckpt_receiver;

typedef enum ckpt_event_kind {
  CKPT_EVENT_NONE = 0,     ///< nothing came in time: ask again
  CKPT_EVENT_HANDLE = 1,   ///< the sender's buffer
  CKPT_EVENT_BUCKET = 2,   ///< tensors in the buffer: load them, then answer
  CKPT_EVENT_RELEASE = 3,  ///< forget every view of the buffer, then answer
  CKPT_EVENT_FINISH = 4,   ///< everything has come: post-load work, then answer
  CKPT_EVENT_END = 5,      ///< the session ended well; nothing is to be answered
} ckpt_event_kind;

/// Element of ckpt_event.tensors: where a tensor of a bucket lies. Offsets are multiples of the dtype's size, inside the buffer: checked.
typedef struct ckpt_placed_tensor {
  uint64_t offset_bytes;
  uint64_t bytes;
  uint32_t dtype;           ///< index into ckpt_dtype_name
  uint32_t num_dimensions;  ///< of ckpt_event.shapes, which follow one another
} ckpt_placed_tensor;

/// One message of the sender's. What it points at lives until the next ckpt_receiver_next.
typedef struct ckpt_event {
  int32_t kind;
  int32_t native;  ///< 1: from our own sender, with digests where it takes them

  /* CKPT_EVENT_HANDLE */
  uint64_t buffer_bytes;
  const void* host_buffer;      ///< mapped read-only until ckpt_receiver_close or the answer to CKPT_EVENT_RELEASE; null for a GPU's
  int32_t host_fd;              ///< its descriptor, as long as that, for a caller who maps it for himself; -1 for a GPU's
  const void* cuda_ipc_handle;  ///< what torch.multiprocessing.reductions.rebuild_cuda_tensor takes as `storage_handle`; null for host memory
  uint32_t cuda_ipc_handle_bytes;
  const char* cuda_handle_json;  ///< its other arguments, as a JSON object by name (bytes in hex)

  /* CKPT_EVENT_BUCKET */
  uint32_t bucket;
  uint32_t num_tensors;
  uint64_t layout;  ///< equal for buckets whose names, shapes, dtypes and offsets are equal: what was made of one may be kept for the next update
  const ckpt_placed_tensor* tensors;
  const uint64_t* shapes;
  uint64_t num_shapes;
  const char* names;  ///< each followed by a zero byte
  uint64_t names_bytes;
} ckpt_event;

/// "BF16", …; null past the last.
CKPT_API const char* ckpt_dtype_name(uint32_t dtype);
/// The address is an engine's worker's entry of the handle map. `settings`: as for ckpt_server_create. Does not wait. Where the sender has an address
/// for native workers beside it, that one is used.
CKPT_API int32_t ckpt_receiver_open(const char* address, const char* settings, ckpt_receiver** receiver, ckpt_error** error);
/// The next message, or CKPT_EVENT_NONE after `timeout_ms`. cancelled: the sender aborted, with its reason; unavailable: it went away, or never was
/// there; deadline_exceeded: it did not come within 30 s; data_corruption: it sent what does not fit, or bytes that have not their digests (it has
/// been told). Where an answer told of a failure: that text (remote_error), as soon as the sender has let go.
CKPT_API int32_t ckpt_receiver_next(ckpt_receiver* receiver, uint32_t timeout_ms, ckpt_event* event, ckpt_error** error);
/// Answers the message: null is well, else what went wrong, which ends the update: ask for the next message until that says so, since senders of
/// the field wait for ever where a worker leaves.
CKPT_API int32_t ckpt_receiver_answer(ckpt_receiver* receiver, const char* error_text, ckpt_error** error);
CKPT_API void ckpt_receiver_close(ckpt_receiver* receiver);

// NOLINTEND(readability-identifier-naming,modernize-use-using)

#ifdef __cplusplus
}
#endif
