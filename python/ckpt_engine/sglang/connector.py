"""Models at ``ckptengine://FOLDER``: configuration and tokenizer of the local FOLDER, weights from a sender. Imports SGLang: loaded by it alone."""

from __future__ import annotations

import fnmatch
import os
from typing import Any, Generator, List, Optional, Tuple

from sglang.srt.connector.base_connector import BaseFileConnector

from .. import _receiver
from .._door import answer
from .._filling import Filling, door_at
from .._views import SenderBuffer
from .model_update import own_key, world_group
from .plug_in import SCHEME


class CkptEngineConnector(BaseFileConnector):
    """``device``: of the tensors, "cuda:0", "cuda" or "cpu". ``port``: where the first rank waits; None: 33001, or the next that is free."""

    def __init__(self, url: str, device: Any = "cpu", port: Optional[int] = None) -> None:
        super().__init__(url)
        self.device = device
        self.folder = url[len(SCHEME) :] if url.startswith(SCHEME) else ""
        self._port = port

    def glob(self, allow_pattern: str = "*") -> List[str]:
        """Files of the folder."""
        names = sorted(os.listdir(self.folder)) if self.folder else []
        return [os.path.join(self.folder, name) for name in names if fnmatch.fnmatch(name, allow_pattern)]

    def pull_files(self, allow_pattern: Optional[List[str]] = None, ignore_pattern: Optional[List[str]] = None) -> None:
        """Links the folder's files into ``get_local_dir()``."""
        for path in self.glob():
            name = os.path.basename(path)
            wanted = not allow_pattern or any(fnmatch.fnmatch(name, pattern) for pattern in allow_pattern)
            refused = any(fnmatch.fnmatch(name, pattern) for pattern in ignore_pattern or ())
            link = os.path.join(self.local_dir, name)
            if wanted and not refused and os.path.isfile(path) and not os.path.lexists(link):
                os.symlink(os.path.abspath(path), link)

    def weight_iterator(self, rank: int = 0) -> Generator[Tuple[str, Any], None, None]:
        """The tensors that the next sender brings, by their names in the checkpoint; copies, on the device of the sender's memory. All ranks of the
        engine call it; `rank` is not needed. Raises what a receiver raises (errors.py)."""
        del rank
        with Filling(world_group(), lambda: door_at(self._port, "sglang")) as filling:
            addresses = filling.next_update()
            address = addresses[own_key(addresses)]
            with _receiver.Receiver(address) as receiver:
                yield from _tensors(receiver, device_index(self.device))
            filling.tell(answer(address, None, "new"))


def device_index(device: Any) -> Optional[int]:
    """Of SGLang's names for a device. None on the CPU."""
    import torch

    if torch.device(device).type == "cpu":
        return None
    index: Optional[int] = torch.device(device).index
    return torch.cuda.current_device() if index is None else index


def _tensors(receiver: _receiver.Receiver, device_id: Optional[int]) -> Generator[Tuple[str, Any], None, None]:
    buffer: Optional[SenderBuffer] = None
    while True:
        kind = receiver.next()
        if kind == _receiver.END:
            return
        if kind == _receiver.HANDLE:
            buffer = SenderBuffer(receiver, device_id)
        elif kind == _receiver.BUCKET and buffer is not None:
            for name, tensor in buffer.views(receiver):
                yield name, tensor.clone()  # a loader may keep it beyond this bucket
            buffer.synchronize()
        elif kind == _receiver.RELEASE and buffer is not None:
            release, buffer = buffer.release, None
            release()
        receiver.answer()
