"""Puts the weights of large language models into running inference engines, in place.

    server = ckpt_engine.ParameterServer()
    server.register_checkpoint("step-1", named_tensors=tensors)
    server.gather_metas("step-1")
    server.update("step-1", req_func)

Modules are imported when their names are first used, so that importing the package costs nothing. Errors are those of
`ckpt_engine.errors`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, List

from ._version import __version__

if TYPE_CHECKING:
    from .api import request_inference_to_update
    from .data_types import (
        BucketRange,
        DataToGather,
        H2DBucket,
        MemoryBuffer,
        MemoryBufferMetaList,
        MemoryBufferMetas,
        ParameterMeta,
    )
    from .device_utils import DeviceManager, get_ip, npu_generate_uuid
    from .errors import CkptError
    from .p2p_store import P2PStore
    from .ps import ParameterServer
    from .worker import FlattenedTensorMetadata, VllmColocateWorkerExtension, update_weights_from_ipc

_HOME = {
    "BucketRange": "data_types",
    "CkptError": "errors",
    "DataToGather": "data_types",
    "DeviceManager": "device_utils",
    "FlattenedTensorMetadata": "worker",
    "H2DBucket": "data_types",
    "MemoryBuffer": "data_types",
    "MemoryBufferMetaList": "data_types",
    "MemoryBufferMetas": "data_types",
    "P2PStore": "p2p_store",
    "ParameterMeta": "data_types",
    "ParameterServer": "ps",
    "VllmColocateWorkerExtension": "worker",
    "get_ip": "device_utils",
    "npu_generate_uuid": "device_utils",
    "request_inference_to_update": "api",
    "update_weights_from_ipc": "worker",
}

__all__ = [
    "BucketRange",
    "CkptError",
    "DataToGather",
    "DeviceManager",
    "FlattenedTensorMetadata",
    "H2DBucket",
    "MemoryBuffer",
    "MemoryBufferMetaList",
    "MemoryBufferMetas",
    "P2PStore",
    "ParameterMeta",
    "ParameterServer",
    "VllmColocateWorkerExtension",
    "__version__",
    "get_ip",
    "npu_generate_uuid",
    "request_inference_to_update",
    "update_weights_from_ipc",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> List[str]:
    return sorted({*globals(), *__all__})
