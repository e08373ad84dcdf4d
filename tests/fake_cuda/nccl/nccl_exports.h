/// The exported names of libnccl.so.2, with the types that the product declares for them.
#pragma once

#include "fake_cuda.h"
#include "transfer/nccl/nccl_library.h"

extern "C" {
FAKE_CUDA_API ckpt::NcclResult ncclGetVersion(int* version);
FAKE_CUDA_API ckpt::NcclResult ncclGetUniqueId(ckpt::NcclUniqueId* id);
FAKE_CUDA_API ckpt::NcclResult ncclCommInitRankConfig(ckpt::NcclComm* comm, int num_ranks, ckpt::NcclUniqueId id, int rank, ckpt::NcclConfig* config);
FAKE_CUDA_API ckpt::NcclResult ncclCommGetAsyncError(ckpt::NcclComm comm, ckpt::NcclResult* error);
FAKE_CUDA_API ckpt::NcclResult ncclCommAbort(ckpt::NcclComm comm);
FAKE_CUDA_API ckpt::NcclResult ncclAllGather(const void* send, void* receive, std::size_t count, int type, ckpt::NcclComm comm,
                                             ckpt::NcclStream stream);
FAKE_CUDA_API ckpt::NcclResult ncclBroadcast(const void* send, void* receive, std::size_t count, int type, int root, ckpt::NcclComm comm,
                                             ckpt::NcclStream stream);
FAKE_CUDA_API ckpt::NcclResult ncclGroupStart();
FAKE_CUDA_API ckpt::NcclResult ncclGroupEnd();
FAKE_CUDA_API const char* ncclGetErrorString(ckpt::NcclResult result);
FAKE_CUDA_API const char* ncclGetLastError(ckpt::NcclComm comm);
}
