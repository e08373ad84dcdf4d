"""Tensors that a loader wants in one call, though a sender's buckets may part them."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple

#: SGLang joins these two before it loads them, in the call in which both come.
_PARTNERS = (("gate_proj", "up_proj"), ("q_a_proj", "kv_a_proj_with_mqa"))


class Pairs:
    """Keeps copies of what came without its partner, until that comes. Of one update."""

    def __init__(self) -> None:
        self._waiting: Dict[str, Any] = {}

    def together(self, bucket: List[Tuple[str, Any]]) -> List[Tuple[str, Any]]:
        """What of the bucket, and of what waited, can be loaded now. The bucket's tensors may be gone afterwards."""
        here = {name for name, _ in bucket}
        ready: List[Tuple[str, Any]] = []
        for name, tensor in bucket:
            partner = _partner(name)
            if partner is None or partner in here:
                ready.append((name, tensor))
            elif partner in self._waiting:
                ready += [(partner, self._waiting.pop(partner)), (name, tensor)]
            else:
                self._waiting[name] = tensor.clone()
        return ready

    def rest(self) -> List[Tuple[str, Any]]:
        """What has no partner: it is loaded alone, and whether that will do is the loader's to say."""
        waiting, self._waiting = self._waiting, {}
        return list(waiting.items())


def _partner(name: str) -> Optional[str]:
    parts = name.split(".")
    for one, other in _PARTNERS:
        for own, partner in ((one, other), (other, one)):
            if own in parts:
                return ".".join(partner if part == own else part for part in parts)
    return None
