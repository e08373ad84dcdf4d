"""Metas: what each rank holds of a checkpoint, as scripts know it and as the JSON document of docs/format/metas.md.

Metas that the package `checkpoint-engine` pickled are read by a closed list of types: nothing else in such a file is
ever made or called.
"""

from __future__ import annotations

import io
import json
import pickle
from typing import Any, Dict, List

from . import errors
from ._dtypes import SAFETENSORS_NAMES
from .data_types import MemoryBufferMetaList, MemoryBufferMetas, ParameterMeta

_BITS = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "BF16": 16, "BOOL": 8}
_ALIGNMENT = 256


class Metas(Dict[int, MemoryBufferMetaList]):
    """Rank: what it holds. Ranks that hold nothing are left out. `document` is the JSON that they came from, "" for
    metas made elsewhere. Pickles."""

    document: str = ""


def from_json(document: str) -> Metas:
    """Metas of a document. A rank's own tensors (packing "shares") stand with its first segment; where all ranks hold a
    piece of every tensor ("striped"), they stand with every rank.

    Raises InvalidArgumentError for what is no such document.
    """
    try:
        read = json.loads(document)
        parameters = [_parameter(parameter) for parameter in read["parameters"]]
        metas, begin = Metas(), 0
        for rank, holds in enumerate(read["ranks"]):
            own = parameters
            if read["layout"]["packing"] == "shares":
                end = begin + read["layout"]["shares"][rank]
                own, begin = parameters[begin:end], end
            segments = [
                MemoryBufferMetas(metas=[], ptr=segment["address"], size=segment["bytes"])
                for segment in holds["segments"]
            ]
            if own and segments:
                segments[0].metas = own
            if segments:
                metas[rank] = MemoryBufferMetaList(
                    p2p_store_addr=None, memory_buffer_metas_list=segments, rdma_device=""
                )
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise errors.InvalidArgumentError(f"this is no metas document: {type(error).__name__}: {error}") from None
    metas.document = document
    return metas


def _parameter(read: Any) -> ParameterMeta:
    name, dtype, shape = read["name"], read["dtype"], tuple(read["shape"])
    return ParameterMeta(name=name, dtype=dtype, shape=shape, aligned_size=_aligned(dtype, shape))


def _aligned(dtype: str, shape: Any) -> int:
    bits = _BITS.get(dtype) or int(dtype[1:].split("_")[0])  # "F32", "F8_E4M3", "U16"
    for size in shape:
        bits *= size
    return (bits // 8 + _ALIGNMENT - 1) // _ALIGNMENT * _ALIGNMENT


class _Fields:
    """Stands for an object of the old package while its fields come."""

    def __setstate__(self, state: Dict[str, Any]) -> None:
        self.fields: Dict[str, Any] = state["__dict__"]


class _OldList(_Fields):
    pass


class _OldSegment(_Fields):
    pass


class _OldParameter(_Fields):
    pass


_TYPES = {"MemoryBufferMetaList": _OldList, "MemoryBufferMetas": _OldSegment, "ParameterMeta": _OldParameter}
_MODULES = ("checkpoint_engine.data_types", "checkpoint_engine.ps", "__main__")


class _ClosedUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module in _MODULES and name in _TYPES:
            return _TYPES[name]
        if module == "torch" and name in SAFETENSORS_NAMES:
            return SAFETENSORS_NAMES[name]
        if (module, name) == ("torch", "Size"):
            return tuple
        if (module, name) in (("builtins", "set"), ("__builtin__", "set")):
            return set
        raise errors.InvalidArgumentError(f"old metas do not hold {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise errors.InvalidArgumentError("old metas hold no persistent ids")


def from_old_pickle(pickled: bytes) -> Metas:
    """Metas that `checkpoint-engine` up to 0.4.2 saved with pickle (`--save-metas-file`).

    Raises InvalidArgumentError for anything else; nothing that such a file names is imported or called.
    """
    try:
        read = _ClosedUnpickler(io.BytesIO(pickled)).load()
        metas = Metas()
        for rank, old in read.items():
            if type(rank) is not int or rank < 0 or type(old) is not _OldList:
                raise errors.InvalidArgumentError("old metas are a table of ranks")
            metas[rank] = _list(old.fields)
        return metas
    except errors.InvalidArgumentError:
        raise
    except Exception as error:  # what a damaged pickle raises is not told by pickle's documentation
        raise errors.InvalidArgumentError(f"this is no pickle of old metas: {type(error).__name__}: {error}") from None


def _list(fields: Dict[str, Any]) -> MemoryBufferMetaList:
    segments: List[MemoryBufferMetas] = []
    for segment in fields["memory_buffer_metas_list"]:
        parameters = [
            ParameterMeta(
                name=str(p["name"]),
                dtype=str(p["dtype"]),
                shape=tuple(int(size) for size in p["shape"]),
                aligned_size=int(p["aligned_size"]),
            )
            for p in (parameter.fields for parameter in segment.fields["metas"])
        ]
        segments.append(
            MemoryBufferMetas(metas=parameters, ptr=int(segment.fields["ptr"]), size=int(segment.fields["size"]))
        )
    address = fields.get("p2p_store_addr")
    return MemoryBufferMetaList(None if address is None else str(address), segments, str(fields.get("rdma_device", "")))
