"""What the machine can do, to lay beside what the senders did: plain copies, collectives and registrations, no product code.

    torchrun --nproc-per-node 2 limits.py --share GB,... --out FILE

Writes one JSON document: rates in bytes a second, times in seconds, of the slower rank; medians. `share`: bytes that a rank holds of a checkpoint, in GB.

    h2d_alone_R      pinned host memory to GPU R, the others idle          h2d_together   all GPUs at once, the slowest
    all_gather_SIZE  in place, SIZE bytes a rank; bytes received a second  d2d            inside a GPU, bytes copied
    populate_GB      fresh huge pages, touched by all cores of the ranks   register_GB    the same memory made known to the GPU; sum: populate_register_GB
"""

import argparse
import ctypes
import json
import mmap
import os
import statistics
import threading
import time

import torch
import torch.distributed as dist

now = time.perf_counter
GIB = 1 << 30
MADV_HUGEPAGE, MADV_POPULATE_WRITE = 14, 23
LIBC = ctypes.CDLL(None, use_errno=True)


class Bench:
    def __init__(self):
        self.rank, self.num_ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        torch.cuda.set_device(self.rank)
        self.threads = max(1, len(os.sched_getaffinity(0)) // self.num_ranks)
        dist.init_process_group("nccl", device_id=torch.device("cuda", self.rank))
        self.results = {}

    def meet(self):
        dist.barrier()
        torch.cuda.synchronize()

    def slowest(self, seconds: float) -> float:
        value = torch.tensor([seconds], dtype=torch.float64, device="cuda")
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
        return float(value)

    def rate(self, name: str, size: int, work, only=None, repeats: int = 5):
        times = []
        for _ in range(repeats + 1):
            self.meet()
            begin = now()
            if only in (None, self.rank):
                work()
                torch.cuda.synchronize()
            times.append(self.slowest(now() - begin if only in (None, self.rank) else 0.0))
        self.results[name] = size / statistics.median(times[1:])

    def populate(self, size: int) -> tuple[mmap.mmap, int, float]:
        """Fresh memory in huge pages, touched by this rank's part of the cores. Its address, and how long the slowest rank took."""
        memory = mmap.mmap(-1, size + (2 << 20))
        base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        base += -base % (2 << 20)
        LIBC.madvise(ctypes.c_void_p(base), ctypes.c_size_t(size), MADV_HUGEPAGE)
        step = -(-size // self.threads // (2 << 20)) * (2 << 20)

        def touch(at: int):
            if at < size and LIBC.madvise(ctypes.c_void_p(base + at), ctypes.c_size_t(min(step, size - at)), MADV_POPULATE_WRITE) != 0:
                raise OSError(ctypes.get_errno(), "MADV_POPULATE_WRITE")

        threads = [threading.Thread(target=touch, args=(i * step,)) for i in range(self.threads)]
        self.meet()
        begin = now()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return memory, base, self.slowest(now() - begin)

    def register(self, base: int, size: int) -> float:
        self.meet()
        begin = now()
        error = int(torch.cuda.cudart().cudaHostRegister(base, size, 0))
        assert error == 0, f"cudaHostRegister: {error}"
        return self.slowest(now() - begin)

    def host_memory(self, share_gb: float, copies: bool):
        size = -(-int(share_gb * 1e9) // (2 << 20)) * (2 << 20)
        memory, base, populate_s = self.populate(size)
        register_s = self.register(base, size)
        name = f"{share_gb:g}"
        self.results |= {f"populate_{name}": populate_s, f"register_{name}": register_s, f"populate_register_{name}": populate_s + register_s}
        if copies:
            self.copies(torch.frombuffer(memory, dtype=torch.uint8, count=min(size, 4 * GIB), offset=base - ctypes.addressof(ctypes.c_char.from_buffer(memory))))
        torch.cuda.cudart().cudaHostUnregister(base)

    def copies(self, pinned: torch.Tensor):
        target = torch.empty(pinned.nbytes, dtype=torch.uint8, device="cuda")

        def copy():
            for at in range(0, pinned.nbytes, GIB):
                target[at : at + GIB].copy_(pinned[at : at + GIB], non_blocking=True)

        for rank in range(self.num_ranks):
            self.rate(f"h2d_alone_{rank}", pinned.nbytes, copy, only=rank)
        self.rate("h2d_together", pinned.nbytes, copy)

    def on_gpus(self):
        for mib in (8, 32, 128, 1024):
            each = mib << 20
            frame = torch.empty(each * self.num_ranks, dtype=torch.uint8, device="cuda")
            mine = frame[self.rank * each : (self.rank + 1) * each]
            repeats = max(1, 1024 // mib)

            def gather(frame=frame, mine=mine, repeats=repeats):
                for _ in range(repeats):
                    dist.all_gather_into_tensor(frame, mine)

            self.rate(f"all_gather_{mib}MiB", each * (self.num_ranks - 1) * repeats, gather)
        source, target = (torch.empty(2 * GIB, dtype=torch.uint8, device="cuda") for _ in range(2))
        self.rate("d2d", 2 * GIB, lambda: target.copy_(source))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--share", required=True, help="GB a rank, one or more with commas between")
    parser.add_argument("--out", required=True)
    arguments = parser.parse_args()
    bench = Bench()
    bench.on_gpus()
    for number, share in enumerate(arguments.share.split(",")):
        bench.host_memory(float(share), copies=number == 0)
    bench.results["gpu"] = torch.cuda.get_device_name()
    if bench.rank == 0:
        with open(arguments.out, "w") as file:
            json.dump(bench.results, file, indent=1)
        for name, value in bench.results.items():
            print(f"  {name:24} {value / 1e9:8.1f} GB/s" if isinstance(value, float) and value > 1e6 else f"  {name:24} {value}" if isinstance(value, str) else f"  {name:24} {value:8.3f} s")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
