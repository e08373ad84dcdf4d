"""ckpt_engine.sglang.launch_server with SGLang's server replaced by one that spawns a scheduler as SGLang does, and a scheduler that says what it finds.
Usage: launched.py ARGUMENTS…"""

import json
import multiprocessing
import os
import sys
import types

import sglang_rank  # noqa: F401  the stand-ins, here and in the spawned process


def say_what_is_here(server_args, who: str) -> None:
    from sglang.srt.checkpoint_engine.checkpoint_engine_worker import SGLangCheckpointEngineWorkerExtensionImpl as Worker
    from sglang.srt.configs.load_config import LoadConfig
    from sglang.srt.connector import create_remote_connector

    print(json.dumps({
        "who": who,
        "load_format": server_args.load_format,
        "loader": LoadConfig(load_format=server_args.load_format).load_format.__name__,
        "connector": type(create_remote_connector("ckptengine://")).__name__,
        "worker": Worker.update_weights_from_ipc.__module__,
        "waits": server_args.checkpoint_engine_wait_weights_before_ready,
        "patience": os.environ.get("SGLANG_WAIT_WEIGHTS_READY_TIMEOUT"),
        "route": who == "server" and any(getattr(route, "path", "") == "/update_weights_from_ckpt_engine" for route in server().app.routes),
    }), flush=True)


def server():
    from sglang.srt.entrypoints import http_server

    return http_server


def launch_server(server_args, run_scheduler_process_func=None) -> None:
    say_what_is_here(server_args, "server")
    process = multiprocessing.get_context("spawn").Process(target=run_scheduler_process_func, args=(server_args, "scheduler"))
    process.start()
    process.join()


if __name__ == "__mp_main__":  # the spawned process
    scheduler = types.ModuleType("sglang.srt.managers.scheduler")
    scheduler.run_scheduler_process = say_what_is_here
    sys.modules[scheduler.__name__] = scheduler

if __name__ == "__main__":
    from ckpt_engine.sglang.launch_server import main

    server().launch_server = launch_server
    main(sys.argv[1:])
