"""Adds to an unmodified SGLang, in the process that calls it, what ckpt_engine/sglang has. An SGLang that has no place for a part goes without it."""

from __future__ import annotations

import logging
import multiprocessing
from typing import Any

NAME = "ckpt_engine"
SCHEME = "ckptengine://"
_log = logging.getLogger("sglang.ckpt_engine")


def register_here() -> None:
    """The load format and the connector; the update of a worker's model; in the server's process the route. Harmless when repeated."""
    for part in (register_load_format, register_connector, register_update):
        try:
            part()
        except (ImportError, AttributeError) as error:
            _log.warning("this SGLang has no place for ckpt_engine's %s: %s", part.__name__.partition("_")[2], error)
    if multiprocessing.parent_process() is None:
        register_route()


def register_load_format() -> None:
    """``--load-format ckpt_engine`` and models at ``ckptengine://`` are understood afterwards. SGLang takes a class in the place of a load format."""
    from sglang.srt import server_args
    from sglang.srt.configs.load_config import LoadConfig

    if NAME not in server_args.LOAD_FORMAT_CHOICES:
        server_args.add_load_format_choices([NAME])
    verify, handle = LoadConfig._verify_load_format, server_args.ServerArgs._handle_load_format
    if getattr(verify, NAME, False):
        return

    def verify_load_format(self: Any) -> None:
        if self.load_format == NAME:
            from .model_loader import CkptEngineModelLoader

            self.load_format = CkptEngineModelLoader
        verify(self)

    def handle_load_format(self: Any) -> None:
        handle(self)
        if str(self.model_path).startswith(SCHEME):
            self.load_format = NAME

    setattr(verify_load_format, NAME, True)
    LoadConfig._verify_load_format = verify_load_format
    server_args.ServerArgs._handle_load_format = handle_load_format


def register_connector() -> None:
    """``create_remote_connector("ckptengine://…")`` makes a CkptEngineConnector afterwards, also where the function was imported by name."""
    import sys

    from sglang.srt import connector

    create = connector.create_remote_connector
    if getattr(create, NAME, False):
        return

    def create_remote_connector(url: Any, device: Any = None, **named: Any) -> Any:
        if str(url).startswith(SCHEME):
            from .connector import CkptEngineConnector

            return CkptEngineConnector(str(url), device or "cpu")
        return create(url, device, **named)

    setattr(create_remote_connector, NAME, True)
    for module in [module for name, module in list(sys.modules.items()) if name.startswith("sglang.")]:
        if vars(module).get("create_remote_connector") is create:
            setattr(module, "create_remote_connector", create_remote_connector)


def register_update() -> None:
    """A worker's answer to ``POST /update_weights_from_ipc`` is ours afterwards: what is missing is told, and what fails after loading is an error."""
    from sglang.srt.checkpoint_engine import checkpoint_engine_worker

    worker = checkpoint_engine_worker.SGLangCheckpointEngineWorkerExtensionImpl
    if getattr(worker.update_weights_from_ipc, NAME, False):
        return

    def update_weights_from_ipc(self: Any, zmq_handles: Any) -> None:
        from .model_update import update_model_runner

        update_model_runner(self.model_runner, zmq_handles)

    setattr(update_weights_from_ipc, NAME, True)
    worker.update_weights_from_ipc = update_weights_from_ipc


def register_route() -> None:
    """``POST /update_weights_from_ckpt_engine``, in the server's process, and that requests are held while weights are torn."""
    try:
        from .hold_torn import hold_torn_weights
        from .route import add_route

        hold_torn_weights()
    except ImportError as error:
        _log.warning("this SGLang has no place for ckpt_engine's route: %s", error)
        return
    add_route()


def run_scheduler(*given: Any, **named: Any) -> Any:
    """In the place of SGLang's ``run_scheduler_process``, in the spawned process."""
    register_here()
    from sglang.srt.managers.scheduler import run_scheduler_process

    return run_scheduler_process(*given, **named)
