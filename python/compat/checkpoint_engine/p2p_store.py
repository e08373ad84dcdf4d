"""ckpt_engine.p2p_store."""

from ckpt_engine.p2p_store import P2PStore

__all__ = ["P2PStore"]
