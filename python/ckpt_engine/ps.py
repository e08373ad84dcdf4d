"""The parameter server: one rank's checkpoints in memory, and the updates that put them into running engines.

Every rank is one process, as torchrun, Slurm, MPI or `ckpt-engine launch` start them. All ranks make the same calls in
the same order.
"""

from __future__ import annotations

import ctypes
import json
import os
from ctypes import c_char_p
from datetime import timedelta
from typing import Any, Dict, List, Mapping, Optional, Sequence, Union

from . import _operation, _torch_group, distributed, errors
from ._caller import EnginesCall, RequestFunction
from ._library import Source
from ._rank import Rank, Timeout, as_json, log, milliseconds, need
from .data_types import MemoryBufferMetaList
from .metas import Metas, from_json

TEN_MINUTES = timedelta(minutes=10)
_PATIENCE_S = 5.0  # with an engines' call that has not returned though its update failed


class ParameterServer:
    """Threads: one call at a time; a second one raises FailedPreconditionError. Every call that waits ends at its
    timeout, and at Ctrl-C.

    The arguments are those of scripts that exist; what is not given comes from the environment (RANK, WORLD_SIZE,
    MASTER_ADDR, MASTER_PORT and their counterparts of Slurm and MPI). A process with neither is alone. Nothing is
    connected until the first collective call.

        rank, world_size     this process among all; 0 is a rank
        auto_pg              join the group at the first call that needs it; else `init_process_group` must come first
        gpu_count            GPUs of a host; not needed: a rank takes the GPU of its place on its host, or the one of
                             CKPT_DEVICE_UUID
        mem_fraction         0 to 1; not needed: slots take what the plan needs of what is free, limited by
                             CKPT_MEMORY_LIMIT
        master_addr/port     where rank 0 keeps the store; by default at MASTER_PORT + 1
        keep_versions        versions before the one in service that stay in memory for `rollback`, where there is
                             enough: 1 unless CKPT_KEEP_VERSIONS says else. Each takes as much memory as a checkpoint
        settings             options by their names (docs/reference/options.md): {"bucket_size": "256MiB"}
        progress             called in the waiting thread with stage, bytes done, bytes in all; what it raises ends the
                             call
    """

    shared_memory_pool_name = "__shared_memory_pool__"

    def __init__(
        self,
        *,
        rank: Optional[int] = None,
        world_size: Optional[int] = None,
        auto_pg: bool = True,
        gpu_count: Optional[int] = None,
        mem_fraction: Optional[float] = None,
        master_addr: Optional[str] = None,
        master_port: Optional[int] = None,
        keep_versions: Optional[int] = None,
        settings: Optional[Mapping[str, Any]] = None,
        progress: Optional[_operation.Progress] = None,
    ) -> None:
        need(rank is None or rank >= 0, f"rank {rank}: ranks count from 0")
        need(world_size is None or world_size > 0, f"world_size {world_size}: there is one rank at least")
        need(
            rank is None or world_size is None or rank < world_size, f"rank {rank} of {world_size}: ranks count from 0"
        )
        need(gpu_count is None or gpu_count > 0, f"gpu_count {gpu_count}: give the number of GPUs of a host")
        need(mem_fraction is None or 0 < mem_fraction <= 1, f"mem_fraction {mem_fraction}: give a part of 1")
        settings = dict(settings or {})
        if keep_versions is not None:
            settings["keep_versions"] = keep_versions
        place = {"rank": rank, "world_size": world_size, "master_addr": master_addr, "master_port": master_port}
        given = {key: value for key, value in place.items() if value is not None}
        self._auto_pg = auto_pg
        self._member = False  # has joined, as scripts see it: a group that was left is kept for the next time
        self._made_torch_group = False
        self._registered: Dict[str, bool] = {}  # name: whether it uses the shared memory pool
        self._empty = ""  # the name that gather_metas registered, since this rank holds nothing of it
        self._gathered = ""
        self._metas: Optional[Metas] = None
        self._metas_of_others = False  # loaded, not gathered
        self._target: Dict[str, Any] = {}  # of the last update_engines
        self._native = Rank(given, settings, progress)
        distributed.follow(self)

    def close(self) -> None:
        """Gives the memory back and leaves the group. The server is of no use afterwards. Also done when it is
        collected, and at the process's end."""
        with self._native:
            self._native.close()
            self._member = False
            self._registered.clear()

    def __enter__(self) -> ParameterServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def joined(self) -> bool:
        """Whether this process is a member of the group."""
        return self._member

    @property
    def rank(self) -> int:
        """This process's rank. Known when it has joined, before that if it was given."""
        return int(self._native.known("rank"))

    @property
    def world_size(self) -> int:
        """Number of ranks. Known when this process has joined, before that if it was given."""
        return int(self._native.known("world_size"))

    @property
    def device_uuid(self) -> str:
        """This rank's key in the engines' map: "GPU-…", or "HOST-…" in host memory. Known when it has joined."""
        return str(self._native.known("device_key"))

    # ---- the group

    def init_process_group(self, *, timeout: Timeout = TEN_MINUTES) -> None:
        """Joins the group and finds the device; nothing happens where that is done already. A collective call. Where
        torch is imported and has no group of its own, it gets one too, until the next update ends: scripts use its
        barrier.

        Raises DeadlineExceededError naming the ranks that did not come, UnsupportedError for a device that is not
        there, InvalidArgumentError where two ranks have one GPU, or the environment contradicts itself.
        """
        with self._native:
            self._join(timeout)
            self._made_torch_group = self._made_torch_group or _torch_group.make(milliseconds(timeout) / 1000)

    def leave_process_group(self) -> None:
        """This process is no member until it joins again, which costs nothing then: connections and checkpoints stay
        until `close`. Not collective."""
        with self._native:
            self._member = False
            self._end_torch_group()

    def store_based_barrier(self, timeout: Timeout = timedelta(minutes=5)) -> None:
        """Returns when every rank has called it. A collective call. Errors: those of distributed.barrier."""
        with self._native:
            self._need_group(timeout)
            self._native.run("ckpt_server_barrier_start", b"script", timeout=timeout)

    def _join(self, timeout: Timeout) -> None:
        self._native.join(timeout)
        distributed.follow(self)
        self._member = True

    def _end_torch_group(self) -> None:
        if self._made_torch_group:
            self._made_torch_group = False
            _torch_group.end()

    def _need_group(self, timeout: Timeout) -> None:
        if not self._member and not self._auto_pg:
            raise errors.FailedPreconditionError(
                "this process has not joined the group", advice="call init_process_group(), or give auto_pg=True"
            )
        self._join(timeout)

    # ---- checkpoints

    def register_checkpoint(
        self,
        checkpoint_name: str,
        *,
        files: Optional[Sequence[Union[str, "os.PathLike[str]"]]] = None,
        named_tensors: Optional[Mapping[str, Any]] = None,
        use_shared_memory_pool: bool = False,
        use_inplace_pin_memory: bool = True,
        directory: Union[str, "os.PathLike[str]", None] = None,
        verify: bool = False,
        timeout: Timeout = timedelta(hours=1),
    ) -> None:
        """Takes this rank's part of a checkpoint into pinned memory: the tensors of safetensors files, and tensors of
        the script's own, both or none.

            named_tensors            by name: torch (CPU or this rank's GPU), numpy, whatever has __dlpack__ or a
                                     buffer. Read before this returns, without a copy in between where they are
                                     contiguous; of GPU tensors by DLPack, what makes them must have ended
            use_shared_memory_pool   keep the memory when the name is unregistered, for the next checkpoint. One name
                                     at a time
            use_inplace_pin_memory   use files under /dev/shm where they lie. They stay there, and must not be written
                                     while the name is registered
            directory                instead of both: a checkpoint that all ranks name; each reads an equal share of
                                     every file, which is faster
            verify                   take digests while loading, for receivers that check them

        Joins the group first, if auto_pg is set. On an error nothing is left behind, and a name that was registered
        before stays whole: AlreadyExistsError, NotFoundError (a file), DataCorruptionError, InvalidArgumentError,
        ResourceExhaustedError.
        """
        need(not isinstance(files, (str, bytes)), "files: give a list of paths")
        need(directory is None or not (files or named_tensors), "give a directory, or files and tensors, not both")
        with self._native:
            self._need_group(timeout)
            self._forget_empty(checkpoint_name)
            user = next((name for name, shared in self._registered.items() if shared), None)
            if use_shared_memory_pool and user is not None:
                raise errors.FailedPreconditionError(
                    f"checkpoint {user} uses the shared memory pool", advice=f"unregister {user} first"
                )
            adopt = use_inplace_pin_memory and not use_shared_memory_pool
            self._register(
                checkpoint_name,
                directory,
                files or (),
                named_tensors or {},
                {"verify": verify, "adopt": adopt},
                timeout,
            )
            self._registered[checkpoint_name] = use_shared_memory_pool

    def _register(
        self,
        name: str,
        directory: Any,
        files: Sequence[Any],
        tensors: Mapping[str, Any],
        options: Dict[str, Any],
        timeout: Timeout,
    ) -> None:
        from ._tensors import NamedTensors

        paths = [os.fsencode(os.fspath(file)) for file in files]
        seen = NamedTensors(tensors)  # lives until the operation has ended, as do the others
        source = Source(
            directory=None if directory is None else os.fsencode(os.fspath(directory)),
            files=(c_char_p * len(paths))(*paths),
            num_files=len(paths),
            tensors=seen.array,
            num_tensors=len(seen),
        )
        self._native.run(
            "ckpt_server_register_start", name.encode(), ctypes.byref(source), as_json(options), timeout=timeout
        )

    def unregister_checkpoint(self, checkpoint_name: str, force: bool = False) -> None:
        """Forgets a checkpoint and gives memory that no checkpoint uses back to the system; after one that used the shared
        memory pool only with `force`. The version in service stays in memory, and as many before it as keep_versions
        says, for `rollback`; with `force` none does. A name that is not registered is told in the log, and well."""
        with self._native:
            self._forget_empty(checkpoint_name)
            if checkpoint_name not in self._registered:
                log.warning("unregister_checkpoint: no checkpoint is named %s", checkpoint_name)
                return
            self._unregister(checkpoint_name, free_memory=force or not self._registered[checkpoint_name])
            if force:
                self._native.call("ckpt_server_forget_versions")
            del self._registered[checkpoint_name]

    def _unregister(self, name: str, free_memory: bool) -> None:
        self._native.call("ckpt_server_unregister", name.encode(), int(free_memory))
        if name == self._gathered:
            self._gathered = ""

    def _forget_empty(self, name: str) -> None:
        if name and self._empty == name:
            self._unregister(name, free_memory=False)
            self._empty = ""

    def gather_metas(self, checkpoint_name: str, *, timeout: Timeout = TEN_MINUTES) -> None:
        """Tells every rank what all hold of a checkpoint. A collective call; ranks that have not registered the name
        hold nothing.

        Raises InvalidArgumentError for a tensor that two ranks hold, and what the group raises.
        """
        with self._native:
            self._need_group(timeout)
            if checkpoint_name not in self._registered and checkpoint_name != self._empty:
                self._forget_empty(self._empty)
                self._register(checkpoint_name, None, (), {}, {}, timeout)
                self._empty = checkpoint_name
            self._native.run("ckpt_server_gather_metas_start", checkpoint_name.encode(), timeout=timeout)
            self._gathered, self._metas, self._metas_of_others = checkpoint_name, None, False

    def get_metas(self) -> Dict[int, MemoryBufferMetaList]:
        """What was gathered or loaded last, by rank; empty before that. The values pickle; `metas.Metas.document` has
        the same as JSON."""
        if self._metas is None:
            self._metas = from_json(self.metas_json()) if self._gathered else Metas()
        return self._metas

    def metas_json(self) -> str:
        """What was gathered last, as a JSON document (docs/format/metas.md). Raises FailedPreconditionError before
        gather_metas."""
        if not self._gathered:
            raise errors.FailedPreconditionError("no metas have been gathered", advice="call gather_metas(name) first")
        with self._native:
            return self._native.metas_json(self._gathered)

    def load_metas(self, metas: Mapping[int, MemoryBufferMetaList]) -> None:
        """Takes metas that another job's get_metas gave, by rank. `get_metas` gives them; an update from another job's
        memory raises UnsupportedError. Raises InvalidArgumentError for else."""
        loaded = Metas(metas)
        loaded.document = getattr(metas, "document", "")
        need(
            all(type(rank) is int and isinstance(held, MemoryBufferMetaList) for rank, held in loaded.items()),
            "metas: give what get_metas() returned",
        )
        self._metas, self._metas_of_others = loaded, True

    # ---- updates

    def update(
        self,
        checkpoint_name: str,
        req_func: RequestFunction,
        *,
        timeout: Timeout = TEN_MINUTES,
        ranks: Optional[List[int]] = None,
    ) -> Dict[str, Any]:
        """Puts a checkpoint into the engines of all ranks. A collective call, after gather_metas.

        `req_func` is called on every rank in a thread, with the list of (device uuid, socket address) of all ranks,
        while the weights move; it asks the engines to take them and returns when they have. What it raises ends the
        update on every rank.

        `ranks`: whose workers get the weights, the same on all ranks; None and [] mean all. The other ranks call this
        too: they hold and send, their `req_func` is not called, and their address in the list is empty.

        Returns the report, as `ckpt-engine update --json` prints it. When this raises, engines keep their version, and
        the next update works: NotFoundError, FailedPreconditionError, ResourceExhaustedError (nothing was started);
        UnavailableError, DeadlineExceededError, RemoteError and DataCorruptionError name stage, bucket and rank, the
        same on all ranks.
        """
        need(callable(req_func), "req_func: give a function that takes a list of (device uuid, socket address)")
        chosen = sorted(set(ranks or ()))
        need(all(type(rank) is int and rank >= 0 for rank in chosen), f"ranks {ranks}: give a list of ranks")
        if self._metas_of_others:
            raise errors.UnsupportedError(
                "metas of another job are loaded, and its memory cannot be read",
                advice="call gather_metas(name) in this job, whose ranks hold the checkpoint",
            )
        target = as_json({"ranks": chosen})
        return self._put(["ckpt_server_update_start", checkpoint_name.encode(), target], req_func, timeout)

    def rollback(
        self, req_func: Optional[RequestFunction] = None, *, timeout: Timeout = TEN_MINUTES
    ) -> Dict[str, Any]:
        """Puts the version before into the engines: after an update that failed the one that went well last, else the one
        before that. Its name need not be registered any more: it is sent from memory (`keep_versions`). A collective
        call; arguments, result and errors are those of `update`. Without `req_func` the engines of the last
        `update_engines` are asked, and told the weight version that they had.

        Raises FailedPreconditionError, on all ranks, where there is no version before, or a rank has it no more: it was
        unregistered with `force` or with keep_versions=0, memory did not allow to keep it, or its files were used in
        place (`use_inplace_pin_memory`).
        """
        if req_func is not None:
            return self._put(["ckpt_server_rollback_start", b"{}"], req_func, timeout)
        need(bool(self._target), "req_func: give it, where no update_engines went before")
        return self._put(["ckpt_server_rollback_start", as_json({**self._target, "weight_version": ""})], None, timeout)

    def _put(self, operation: List[Any], req_func: Optional[RequestFunction], timeout: Timeout) -> Dict[str, Any]:
        """An operation that updates engines; `req_func` asks them, unless the library does."""
        with self._native:
            self._need_group(timeout)
            if req_func is None:
                return dict(json.loads(self._native.run(*operation, timeout=timeout)))
            call = EnginesCall(self._native.caller, req_func)
            try:
                return dict(json.loads(self._native.run(*operation, timeout=timeout, call_engines=call.start)))
            except errors.CkptError as error:
                call.wait(_PATIENCE_S)
                raise error from call.raised
            finally:
                if self._auto_pg:
                    self._end_torch_group()

    def update_engines(
        self,
        checkpoint_name: str,
        endpoints: Sequence[str],
        *,
        engine: str = "auto",
        inference_parallel_size: int = 1,
        weight_version: str = "",
        uds: str = "",
        dialect: str = "auto",
        keep_slots: bool = False,
        timeout: Timeout = TEN_MINUTES,
    ) -> Dict[str, Any]:
        """As `update`, but the library makes the engines' call itself, and looks after pausing and versions: options
        and report of `ckpt-engine update`.

        `endpoints`: the HTTP addresses of this host's engines; each is driven by the first of `inference_parallel_size`
        ranks.
        """
        need(not isinstance(endpoints, str), "endpoints: give a list of addresses")
        self._target = {
            "endpoints": list(endpoints),
            "engine": engine,
            "inference_parallel_size": inference_parallel_size,
            "weight_version": weight_version,
            "uds": uds,
            "dialect": dialect,
            "keep_slots": keep_slots,
        }
        return self._put(["ckpt_server_update_start", checkpoint_name.encode(), as_json(self._target)], None, timeout)
