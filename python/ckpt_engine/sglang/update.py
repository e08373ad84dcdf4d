"""``python -m ckpt_engine.sglang.update …``: puts a checkpoint into a running SGLang. The options of ``sglang.srt.checkpoint_engine.update``.

Without RANK in the environment it starts one process for each of the engine's ranks; torchrun, Slurm, MPI or ``ckpt-engine launch`` may do so instead.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import socket
import subprocess
import sys
import time
from typing import Dict, List, Optional

from .. import errors
from ..ps import ParameterServer

_RANK_NAMES = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK")


def main(arguments: Optional[List[str]] = None) -> int:
    """The exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    args = _parser().parse_args(given)
    if args.checkpoint_path is None and args.load_metas_file is None:
        _parser().error("give --checkpoint-path")
    if not any(name in os.environ for name in _RANK_NAMES):
        return _start_ranks(given, args.inference_parallel_size)
    try:
        _update(args)
    except errors.CkptError as error:
        print(f"ckpt_engine.sglang.update: {error}", file=sys.stderr)
        return 1
    time.sleep(args.sleep_time)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ckpt_engine.sglang.update", description="Puts a checkpoint into a running SGLang server.")
    parser.add_argument("--checkpoint-path", help="folder of safetensors files, the same on all ranks")
    parser.add_argument("--save-metas-file", help="where rank 0 writes what all ranks hold (a pickle of plain values, as scripts expect)")
    parser.add_argument("--load-metas-file", help="not offered: an update of ranks that hold nothing")
    parser.add_argument("--sleep-time", type=int, default=0, help="seconds to stay after the update")
    parser.add_argument("--endpoint", default="http://localhost:19730", help="of the server; SGLang's own default port is 30000")
    parser.add_argument("--inference-parallel-size", type=int, default=8, help="ranks of one engine")
    parser.add_argument("--checkpoint-name", default="my-checkpoint-iter-0")
    parser.add_argument("--update-method", default="broadcast", choices=("broadcast", "p2p", "all"), help="all ways are one: broadcast")
    parser.add_argument("--uds", default=None, help="path of a Unix socket that the server listens on")
    parser.add_argument("--weight-version", default=None, help="name of the version, which the server tells at /model_info")
    return parser


def _update(args: argparse.Namespace) -> None:
    if args.load_metas_file or args.update_method == "p2p":
        raise errors.UnsupportedError("an update of chosen ranks is not offered", advice="use --update-method broadcast, with --checkpoint-path")
    with ParameterServer(auto_pg=True) as server:
        server.register_checkpoint(args.checkpoint_name, directory=args.checkpoint_path)
        server.gather_metas(args.checkpoint_name)
        if args.save_metas_file and server.rank == 0:
            with open(args.save_metas_file, "wb") as file:
                pickle.dump(server.get_metas(), file)
        report = server.update_engines(
            args.checkpoint_name,
            [args.endpoint],
            engine="sglang",
            inference_parallel_size=args.inference_parallel_size,
            weight_version=args.weight_version or "",
            uds=args.uds or "",
        )
        if server.rank == 0:
            print(json.dumps(report))


def _start_ranks(arguments: List[str], num_ranks: int) -> int:
    """One process a rank, on this host. The exit code of the first that failed; the others see its end by themselves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place: Dict[str, str] = {"WORLD_SIZE": str(num_ranks), "LOCAL_WORLD_SIZE": str(num_ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port - 1)}
    command = [sys.executable, "-m", "ckpt_engine.sglang.update", *arguments]
    ranks = [
        subprocess.Popen(command, env={**os.environ, **place, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(num_ranks)
    ]
    try:
        codes = [rank.wait() for rank in ranks]
    except BaseException:
        for rank in ranks:
            rank.terminate()
        raise
    return next((code for code in codes if code), 0)


if __name__ == "__main__":
    sys.exit(main())
