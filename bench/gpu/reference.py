"""The sender to compare with: checkpoint-engine's own ParameterServer, unmodified, one process a GPU under torchrun.

    torchrun --nproc-per-node 2 reference.py --checkpoint DIR --out PREFIX [--register inplace] [--updates noop:5,full:5]

Writes PREFIX.rankN.json as gpu_update_bench does. Of the library's code one function is wrapped, to note when the first copy to the GPU begins; everything
else is seen from the workers' side. Each update makes its own process group, as the library's example does.

--register: normal (into pinned memory), inplace (files in /dev/shm, which the library removes: it gets hard links), pool (its shared memory pool).
"""

import argparse
import contextlib
import gc
import json
import os
import sys
import time
import urllib.request
from pathlib import Path

import torch

STAND_IN = "--stand-in" in sys.argv
if STAND_IN:
    import standin

    standin.install_sender()

import checkpoint_engine.ps as library  # noqa: E402
from checkpoint_engine.api import request_inference_to_update  # noqa: E402
from loguru import logger  # noqa: E402

now = time.perf_counter


def process_memory() -> dict:
    memory = {}
    for line in Path("/proc/self/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key in ("VmHWM", "VmRSS", "RssAnon", "RssFile", "RssShmem"):
            memory[key] = int(value.split()[0]) * 1024
    return memory


class Sender:
    def __init__(self, arguments):
        self.arguments, self.rank, self.num_ranks = arguments, int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        self.server = library.ParameterServer(auto_pg=True)
        self.meetings, self.first_copy = 0, None
        original = library.ParameterServer._copy_to_buffer

        def copy_to_buffer(*args, **keywords):
            self.first_copy = self.first_copy or now()
            return original(*args, **keywords)

        library.ParameterServer._copy_to_buffer = copy_to_buffer
        self.record = dict(sender="checkpoint-engine", rank=self.rank, num_ranks=self.num_ranks, torch=torch.__version__, register=[], gather=[], update=[],
                           verify=[], memory={"start": process_memory()})
        self.record["checkpoint_bytes"] = sum(path.stat().st_size for path in arguments.checkpoint.glob("*.safetensors"))

    def meet(self):
        """Brings the ranks together without the library's process group."""
        store, key = self.server._store, f"bench/{self.meetings}"
        self.meetings += 1
        if store.add(key, 1) == self.num_ranks:
            store.set(key + "/go", "1")
        store.wait([key + "/go"])

    def say(self, *words):
        if self.rank == 0:
            print("  reference:", *words, flush=True)

    def ask(self, path: str, body: dict):
        request = urllib.request.Request(self.arguments.endpoint + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as reply:
            return json.load(reply)

    def files(self, mode: str) -> list[str]:
        """This rank's: consecutive files, as many as the others'."""
        every = sorted(self.arguments.checkpoint.glob("*.safetensors"))
        each = -(-len(every) // self.num_ranks)
        mine = every[self.rank * each : (self.rank + 1) * each]
        if mode != "inplace":
            return [str(path) for path in mine]
        links = self.arguments.checkpoint.with_name(self.arguments.checkpoint.name + ".links")
        links.mkdir(exist_ok=True)
        for path in mine:
            with contextlib.suppress(FileExistsError):
                os.link(path, links / path.name)
        return [str(links / path.name) for path in mine]

    def register(self, mode: str, keep: bool):
        files = self.files(mode)
        self.meet()
        begin = now()
        self.server.register_checkpoint("bench", files=files, use_inplace_pin_memory=mode == "inplace", use_shared_memory_pool=mode == "pool")
        end = now()
        self.meet()
        row = dict(mode=mode, begin=begin, end=end, all_ranks_s=now() - begin, memory=process_memory())
        if not keep:
            self.server.unregister_checkpoint("bench")
            gc.collect()
            row["unregister_s"] = now() - end
        self.say(f"register {mode}: {end - begin:.3f} s")
        self.record["register"].append(row)

    def gather(self, kind: str):
        self.meet()
        begin = now()
        self.server.gather_metas("bench")
        self.record["gather"].append(dict(kind=kind, begin=begin, end=now()))

    def request(self, addresses: list):
        if self.rank == 0:
            request_inference_to_update(self.arguments.endpoint + "/collective_rpc", dict(addresses))

    def update(self, loader: str, turn: int) -> float:
        self.meet()
        self.first_copy = None
        begin = now()
        self.server.update("bench", self.request)
        end = now()
        self.record["update"].append(dict(loader=loader, turn=turn, begin=begin, end=end, first_copy=self.first_copy))
        return end - begin

    def series(self, text: str):
        loader, _, count = text.partition(":")
        self.meet()
        if self.rank == 0:
            self.ask("/control", {"loader": loader})
        times = []
        for turn in range(int(count or 1) + 1):
            times.append(self.update(loader, turn))
            self.meet()
            if self.rank == 0 and turn == 0 and loader != "noop":
                self.record["verify"].append(dict(loader=loader, workers=self.ask("/verify", {})))
        self.say(f"update, loader {loader}:", *(f"{seconds:.3f}" for seconds in times))

    def run(self):
        modes = self.arguments.register.split(",")
        for number, mode in enumerate(modes, 1):
            self.register(mode, keep=number == len(modes))
        self.record["memory"]["registered"] = process_memory()
        for kind in ("first", "again", "again", "again"):
            self.gather(kind)
        for series in self.arguments.updates.split(","):
            self.series(series)
        self.record["memory"]["updated"] = process_memory()
        Path(f"{self.arguments.out}.rank{self.rank}.json").write_text(json.dumps(self.record, indent=1))
        self.meet()
        self.server.unregister_checkpoint("bench")
        self.meet()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--endpoint", default="http://127.0.0.1:19730")
    parser.add_argument("--register", default="inplace")
    parser.add_argument("--updates", default="noop:5,full:5")
    parser.add_argument("--out", required=True)
    parser.add_argument("--stand-in", action="store_true", help="dry run without GPUs: see standin.py")
    logger.remove()
    logger.add(sys.stderr, level="ERROR")
    Sender(parser.parse_args()).run()
