"""The receiving side of the measurement: workers, one process a GPU, behind door.py.

    python3 workers.py --checkpoint DIR [--worker published] [--devices 2] [--port 19730]

--worker published: checkpoint_engine's own update_weights_from_ipc, unmodified. --worker ours: ckpt_engine's.

POST /control {"loader": NAME}   what the workers do with the weights from now on:
    noop   count and drop them
    full   copy each into a tensor of the same shape
    tp2    what vLLM does at tensor parallel size 2: merged q/k/v and gate/up, cut by rows; o and down cut by columns; vocabulary by rows
POST /verify {}                  compares every byte held with the files, then zeroes what is held, so that the next check proves the next update

An update's entry in /history has for each worker: begin, connected, last_answer (to the last bucket), end; buckets; seconds spent in load, unpickle and
waiting for messages; GPU memory in use when /control was answered, and at the first bucket of the first update after that.
"""

import argparse
import pickle
import re
import time
import traceback
from pathlib import Path

import door
from checkpoint_files import read_headers

now = time.perf_counter


class Noop:
    def __init__(self, tensors, rank, device):
        pass

    def load(self, weights):
        pass

    def held(self):
        return {}


class Full:
    def __init__(self, tensors, rank, device):
        import torch

        self.tensors = {name: torch.zeros(shape, dtype=torch.bfloat16, device=device) for name, shape in tensors.items()}

    def load(self, weights):
        for name, weight in weights:
            self.tensors[name].copy_(weight)

    def held(self):
        return self.tensors

    def place(self, name, weight):
        return self.tensors[name], weight


class HalfShards:
    """tp2. Merged parameters hold their parts one after the other."""

    MERGED = [("q_proj", "qkv_proj"), ("k_proj", "qkv_proj"), ("v_proj", "qkv_proj"), ("gate_proj", "gate_up_proj"), ("up_proj", "gate_up_proj")]
    COLUMNS = re.compile(r"\.(o|down)_proj\.")
    ROWS = re.compile(r"\.(q|k|v|gate|up)_proj\.|embed_tokens|lm_head")

    def __init__(self, tensors, rank, device):
        import torch

        self.rank, self.parts, shapes = rank, {}, {}
        for part, merged in self.MERGED:
            for name, shape in tensors.items():
                if f".{part}." in name:
                    target = name.replace(part, merged)
                    rows, columns = shapes.get(target, (0, shape[1]))
                    self.parts[name] = (target, rows, shape[0] // 2)
                    shapes[target] = (rows + shape[0] // 2, columns)
        for name, shape in tensors.items():
            if name in self.parts:
                continue
            cut = (shape[0], shape[1] // 2) if self.COLUMNS.search(name) else (shape[0] // 2, *shape[1:]) if self.ROWS.search(name) else shape
            self.parts[name] = (name, 0, cut[0])
            shapes[name] = cut
        self.tensors = {name: torch.zeros(shape, dtype=torch.bfloat16, device=device) for name, shape in shapes.items()}

    def place(self, name, weight):
        """The piece held of one tensor of the checkpoint, and the piece of the tensor that belongs there."""
        target, row, rows = self.parts[name]
        mine = self.tensors[target].narrow(0, row, rows)
        if self.COLUMNS.search(name):
            return mine, weight.narrow(1, self.rank * mine.shape[1], mine.shape[1])
        if self.ROWS.search(name):
            return mine, weight.narrow(0, self.rank * rows, rows)
        return mine, weight

    def load(self, weights):
        for name, weight in weights:
            mine, piece = self.place(name, weight)
            mine.copy_(piece)

    def held(self):
        return self.tensors


LOADERS = {"noop": Noop, "full": Full, "tp2": HalfShards}


class Timeline:
    """What happened when in one update, seen from around the worker's code."""

    def __init__(self):
        self.begin, self.connected, self.last_answer, self.buckets = now(), None, None, 0
        self.spent = {"wait": 0.0, "unpickle": 0.0, "load": 0.0}
        self.memory_before = self.memory_at_first_bucket = None
        self.loaded_since_answer = False

    def summary(self) -> dict:
        return dict(begin=self.begin, connected=self.connected, last_answer=self.last_answer, end=now(), buckets=self.buckets, spent=self.spent,
                    memory_before=self.memory_before, memory_at_first_bucket=self.memory_at_first_bucket)


class TimedSocket:
    """The worker's socket; notes when messages came and went."""

    def __init__(self, socket, timeline):
        self.socket, self.timeline = socket, timeline

    def recv_pyobj(self):  # as pyzmq does it, in its two steps
        begin = now()
        raw = self.socket.recv()
        received = now()
        message = pickle.loads(raw)
        self.timeline.connected = self.timeline.connected or received
        self.timeline.spent["wait"] += received - begin
        self.timeline.spent["unpickle"] += now() - received
        return message

    def send(self, data):
        self.socket.send(data)
        if self.timeline.loaded_since_answer:
            self.timeline.last_answer, self.timeline.loaded_since_answer = now(), False

    def __getattr__(self, name):
        return getattr(self.socket, name)


class TimedContext:
    def __init__(self, context, timeline):
        self.context, self.timeline = context, timeline

    def socket(self, kind):
        return TimedSocket(self.context.socket(kind), self.timeline)


def published_worker():
    import zmq
    from checkpoint_engine.worker import update_weights_from_ipc

    def receive(timeline, address: str, device: int, run, post_hook) -> None:
        update_weights_from_ipc(TimedContext(zmq.Context.instance(), timeline), address, device_id=device, run=run, post_hook=post_hook)

    return receive


def our_worker():
    from ckpt_engine import _receiver, _views  # noqa: F401  the latter at the first update else
    from ckpt_engine.worker import serve

    class TimedReceiver(_receiver.Receiver):
        def __init__(self, address: str, timeline):
            super().__init__(address)
            self.timeline = timeline

        def next(self) -> int:
            begin = now()
            kind = super().next()
            self.timeline.connected = self.timeline.connected or now()
            self.timeline.spent["wait"] += now() - begin
            return kind

        def placements(self):
            begin = now()
            placed = super().placements()
            self.timeline.spent["unpickle"] += now() - begin
            return placed

        def answer(self, error=None) -> None:
            super().answer(error)
            if self.timeline.loaded_since_answer:
                self.timeline.last_answer, self.timeline.loaded_since_answer = now(), False

    def receive(timeline, address: str, device: int, run, post_hook) -> None:
        with TimedReceiver(address, timeline) as receiver:
            serve(receiver, device, run, None, post_hook)

    return receive


WORKERS = {"published": published_worker, "ours": our_worker}  # each imports, and gives what takes one update


class GpuWorker:
    def __init__(self, rank: int, options: dict):
        import torch

        if options["stand_in"]:
            import standin

            standin.install()
        self.cuda, self.device = torch.cuda, "cpu" if options["stand_in"] else f"cuda:{rank}"
        self.cuda.set_device(rank)
        torch.zeros(1, device=self.device)
        self.receive, self.torch, self.rank, self.options = WORKERS[options["worker"]](), torch, rank, options
        self.tensors = {name: shape for _, name, _, shape, _, _ in read_headers(Path(options["checkpoint"]))}
        self.loader, self.memory_before = Noop({}, rank, self.device), None
        self.key = f"GPU-{self.cuda.get_device_properties(rank).uuid}"

    def used_bytes(self) -> int:
        free, total = self.cuda.mem_get_info()
        return total - free

    def control(self, argument: dict):
        self.loader = None
        self.cuda.empty_cache()
        self.loader = LOADERS[argument["loader"]](self.tensors, self.rank, self.device)
        self.cuda.synchronize()
        self.memory_before = self.used_bytes()

    def update(self, addresses: dict) -> dict:
        timeline = Timeline()
        timeline.memory_before, self.memory_before = self.memory_before, None
        def load(weights):
            begin = now()
            if timeline.memory_before is not None and timeline.memory_at_first_bucket is None:
                timeline.memory_at_first_bucket = self.used_bytes()
            self.loader.load(weights)
            timeline.buckets += 1
            timeline.loaded_since_answer = True
            timeline.spent["load"] += now() - begin

        self.receive(timeline, addresses[self.key], self.rank, load, self.cuda.synchronize)
        return timeline.summary()

    def verify(self, _) -> dict:
        wrong, compared = [], 0
        for path, name, _, shape, begin, size in read_headers(Path(self.options["checkpoint"])):
            # read into memory of its own: pages of the file itself may be pinned by a sender
            want = self.torch.empty(size // 2, dtype=self.torch.int16)
            with open(path, "rb", buffering=0) as file:
                file.seek(begin)
                file.readinto(memoryview(want.numpy()).cast("B"))
            mine, piece = self.loader.place(name, want.view(shape).to(self.device))
            compared += mine.nbytes
            # as integers: random bytes hold NaNs
            if not self.torch.equal(mine.contiguous().view(self.torch.int16), piece.contiguous()):
                wrong.append(name)
        for tensor in self.loader.held().values():
            tensor.zero_()
        self.cuda.synchronize()
        self.cuda.empty_cache()
        return dict(rank=self.rank, bytes=compared, wrong=len(wrong), first_wrong=wrong[:3])

    def stats(self, _) -> dict:
        return dict(rank=self.rank, used_bytes=self.used_bytes(), allocated_bytes=self.cuda.memory_allocated())


def work(rank: int, pipe, options: dict) -> None:
    worker = GpuWorker(rank, options)
    pipe.send(worker.key)
    while True:
        command, argument = pipe.recv()
        try:
            pipe.send((True, {"control": worker.control, "update": worker.update, "verify": worker.verify, "stats": worker.stats}[command](argument)))
        except BaseException:  # noqa: BLE001 - told to the door, as an engine's worker does
            pipe.send((False, traceback.format_exc()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--worker", choices=sorted(WORKERS), default="published")
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--port", type=int, default=19730)
    parser.add_argument("--stand-in", action="store_true", help="dry run without GPUs: see standin.py")
    arguments = parser.parse_args()
    door.serve(work, arguments.devices, arguments.port, dict(checkpoint=arguments.checkpoint, stand_in=arguments.stand_in, worker=arguments.worker))
