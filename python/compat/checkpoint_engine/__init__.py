"""ckpt_engine under the import name of the package checkpoint-engine, whose API it has."""

import ckpt_engine as _ours
from ckpt_engine import __all__, __version__  # noqa: F401


def __getattr__(name: str) -> object:
    return getattr(_ours, name)  # imported when it is first used, as there


def __dir__() -> "list[str]":
    return dir(_ours)
