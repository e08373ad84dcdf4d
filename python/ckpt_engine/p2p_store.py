"""Reads between ranks, one-sided: not offered."""

from __future__ import annotations

from typing import Any

from . import errors


class P2PStore:
    """Known by name to scripts. Making one raises UnsupportedError."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise errors.UnsupportedError(
            "reads between ranks are not offered", advice="update without ranks: every rank gets the weights"
        )
