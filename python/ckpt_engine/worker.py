"""The worker inside an engine: receives the weights of an update and gives them to the engine's loader.

The names, arguments and behaviour of the reference's `checkpoint_engine.worker`. It serves our own sender (native messages; GPU or host memory) and the
reference's (pickles, which are read as data). Tensors are views of the sender's buffer: they are gone when `run` has returned and the sender has been
answered, so what must stay is to be copied. torch is imported when the first update comes.
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Tuple, TypedDict

from . import _receiver, errors

if TYPE_CHECKING:
    import torch

    from ._views import SenderBuffer


class FlattenedTensorMetadata(TypedDict):
    """One tensor of a bucket, as the reference's messages have it. Kept for those who import the name: nothing here makes or takes one."""

    name: str
    shape: torch.Size
    dtype: torch.dtype
    offset: int


Weights = List[Tuple[str, "torch.Tensor"]]
Run = Callable[[Weights], None]
PostHook = Callable[[], None]


def update_weights_from_ipc(zmq_ctx: Any, zmq_handle: str, device_id: Optional[int], *, run: Run, post_hook: Optional[PostHook] = None) -> None:
    """Receives one update, to its end.

    zmq_ctx: not used; the reference's callers give one. zmq_handle: this worker's address in the handle map. device_id: index of its GPU, on which the
    sender's buffer is mapped (None on the CPU). run: called with the (name, tensor) pairs of each bucket. post_hook: called once when everything has
    come and the buffer is let go.

    An exception of `run` or `post_hook` is told to the sender, by type and text, and raised here when the sender has let go. Raises CancelledError when
    the sender aborts (another worker failed), UnavailableError when it dies. Ctrl-C ends it within 100 ms.
    """
    del zmq_ctx
    with _receiver.Receiver(zmq_handle) as receiver:
        serve(receiver, device_id, run, None, post_hook)


def serve(
    receiver: _receiver.Receiver, device_id: Optional[int], run: Run, prepare: Optional[PostHook] = None, post_hook: Optional[PostHook] = None
) -> None:
    """update_weights_from_ipc() for an engine with more to say: `prepare` is called when all has come and the buffer is let go. What it raises
    refuses the update before any worker of it has called `post_hook`, if the sender is ours."""
    buffer: Optional[SenderBuffer] = None
    failure: Optional[Exception] = None
    try:
        while True:
            kind = receiver.next()
            if kind == _receiver.END:
                return
            try:
                if kind == _receiver.HANDLE:
                    buffer = _map_buffer(receiver, device_id)
                elif kind == _receiver.BUCKET and buffer is not None:
                    run(buffer.views(receiver))
                    buffer.synchronize()
                elif kind == _receiver.RELEASE and buffer is not None:
                    release, buffer = buffer.release, None
                    release()
                    if prepare is not None:
                        prepare()
                elif kind == _receiver.FINISH and post_hook is not None:
                    post_hook()
            except Exception as error:  # noqa: BLE001  whatever a loader raises
                failure = error
                receiver.answer(_text_of(error))
            else:
                receiver.answer()
    except errors.CkptError:
        if failure is None:
            raise
    assert failure is not None  # nothing else ends the loop
    raise failure  # the sender has been told, and has let go


def _map_buffer(receiver: _receiver.Receiver, device_id: Optional[int]) -> SenderBuffer:
    from ._views import SenderBuffer

    return SenderBuffer(receiver, device_id)


def _text_of(error: Exception) -> str:
    return "".join(traceback.format_exception_only(type(error), error)).strip()


class VllmColocateWorkerExtension:
    """What vLLM's workers get with `--worker-extension-cls ckpt_engine.worker.VllmColocateWorkerExtension`: methods for `/collective_rpc`.

    vLLM mixes it into its worker class, which provides `device`, `rank`, `model_runner` and `model_config`.
    """

    def update_weights_from_ipc(self, zmq_handles: Dict[str, str], weight_version: Optional[str] = None) -> Dict[str, Any]:
        """Receives one update into the worker's model and draft model. zmq_handles: device key → address, of all workers of the engine. weight_version:
        not kept here; vLLM's own place for it is POST /update_weight_version.

        Returns what the sender is to know (see vllm/colocate.py), failures included. Raises KeyError where this worker has no address; to a sender that
        is not ours, which looks at the HTTP status alone, every failure is raised.
        """
        del weight_version
        from .vllm.colocate import run_update

        return run_update(self, zmq_handles[device_key(self, zmq_handles)])

    def ckpt_engine_weights(self) -> Dict[str, str]:
        """{"weights": "whole"}, or "torn" after an update that ended in the middle of them."""
        from .vllm.colocate import weights_state

        return weights_state(self)


def device_index(worker: Any) -> Optional[int]:
    """Index of a vLLM worker's GPU; None on the CPU."""
    index: Optional[int] = worker.device.index if worker.device is not None else None
    return index


def device_key(worker: Any, zmq_handles: Dict[str, str]) -> str:
    """The key of this worker's sender: by GPU, or on the CPU by place."""

    def uuid() -> str:
        from vllm.platforms import current_platform

        return str(current_platform.get_device_uuid(worker.device.index))

    return key_among(zmq_handles, int(worker.rank), uuid)


def key_among(zmq_handles: Dict[str, str], rank: int, uuid: Callable[[], str]) -> str:
    """The key of a worker's sender: its GPU's uuid; in host memory worker r of the engine has the r-th of the engine's ranks. Raises KeyError where it
    has none."""
    on_host = sorted((key for key in zmq_handles if key.startswith("HOST-")), key=lambda key: int(key.rsplit("-", 1)[1]))
    if on_host:
        if rank >= len(on_host):
            raise KeyError(f"worker {rank} of the engine has no sender among {', '.join(on_host)}: --inference-parallel-size is too small")
        return on_host[rank]
    key = uuid()
    if key not in zmq_handles:
        raise KeyError(f"the worker's device {key} has no sender among {', '.join(sorted(zmq_handles))}")
    return key
