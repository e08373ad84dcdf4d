"""ckpt_engine.ps, and what older versions kept in this module too."""

from ckpt_engine.api import request_inference_to_update
from ckpt_engine.data_types import (
    BucketRange,
    DataToGather,
    H2DBucket,
    MemoryBuffer,
    MemoryBufferMetaList,
    MemoryBufferMetas,
    ParameterMeta,
)
from ckpt_engine.p2p_store import P2PStore
from ckpt_engine.ps import ParameterServer

__all__ = [
    "BucketRange",
    "DataToGather",
    "H2DBucket",
    "MemoryBuffer",
    "MemoryBufferMetaList",
    "MemoryBufferMetas",
    "P2PStore",
    "ParameterMeta",
    "ParameterServer",
    "request_inference_to_update",
]
