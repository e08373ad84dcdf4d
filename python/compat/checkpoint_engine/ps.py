"""ckpt_engine.ps, and what older versions kept in this module too."""

from ckpt_engine import data_types
from ckpt_engine.api import request_inference_to_update
from ckpt_engine.data_types import *  # noqa: F403
from ckpt_engine.p2p_store import P2PStore
from ckpt_engine.ps import ParameterServer

__all__ = ["P2PStore", "ParameterServer", "request_inference_to_update"]
__all__ += data_types.__all__
