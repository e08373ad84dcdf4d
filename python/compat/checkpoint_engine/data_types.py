"""ckpt_engine.data_types."""

from ckpt_engine.data_types import *  # noqa: F403
from ckpt_engine.data_types import __all__  # noqa: F401
