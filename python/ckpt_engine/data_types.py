"""What metas are made of, under the names that scripts know. Plain values: they pickle, compare, and need no other
package.

`dtype` is a safetensors name ("BF16"), `shape` a tuple, sizes are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, List, NamedTuple, Optional, Tuple

__all__ = [
    "BucketRange",
    "DataToGather",
    "H2DBucket",
    "MemoryBuffer",
    "MemoryBufferMetaList",
    "MemoryBufferMetas",
    "ParameterMeta",
]


@dataclass
class ParameterMeta:
    """A named tensor. `aligned_size`: its bytes, rounded up to a multiple of 256."""

    name: str
    dtype: str
    shape: Tuple[int, ...]
    aligned_size: int


class BucketRange(NamedTuple):
    """Part of a segment: its index, then offset and size in bytes."""

    idx: int
    offset: int
    size: int


@dataclass
class H2DBucket:
    """What is copied to the device at once."""

    size: int
    ranges: List[BucketRange]
    items: List[ParameterMeta]


@dataclass
class MemoryBufferMetas:
    """A segment of a rank's pool: address, bytes, and the tensors that lie whole in it."""

    metas: List[ParameterMeta]
    ptr: int
    size: int


@dataclass
class MemoryBuffer:
    """A segment with its memory."""

    buffer: Any
    size: int
    metas: List[ParameterMeta]
    manually_pinned: bool = False


@dataclass
class MemoryBufferMetaList:
    """What a rank holds. `rdma_device` and `p2p_store_addr` tell how others read it: "" and None where they cannot."""

    p2p_store_addr: Optional[str]
    memory_buffer_metas_list: List[MemoryBufferMetas] = field(default_factory=list)
    rdma_device: str = ""


@dataclass
class DataToGather(MemoryBufferMetaList):
    """What a rank tells the others."""

    host_ip: str = ""
    device_uuid: str = ""
