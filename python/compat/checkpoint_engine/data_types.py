"""ckpt_engine.data_types."""

from ckpt_engine.data_types import (
    BucketRange,
    DataToGather,
    H2DBucket,
    MemoryBuffer,
    MemoryBufferMetaList,
    MemoryBufferMetas,
    ParameterMeta,
)

__all__ = [
    "BucketRange",
    "DataToGather",
    "H2DBucket",
    "MemoryBuffer",
    "MemoryBufferMetaList",
    "MemoryBufferMetas",
    "ParameterMeta",
]
