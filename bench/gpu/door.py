"""An HTTP door in front of worker processes, one a GPU, as an inference engine has one: senders find the workers through it.

GET  /health           200 when every worker can take an update, 503 while one starts
GET  /uuids            device keys in rank order
GET  /pids             process ids in rank order
GET  /history          the updates so far: {"received": s, "replied": s, "error": text or null, "workers": [what each worker said of it]}
GET  /stats            every worker's answer to "stats"
POST /collective_rpc   {"method": "update_weights_from_ipc", "args": [{"GPU-<uuid>": "<zmq endpoint>"}]}: as vLLM's
POST /NAME             every worker's answer to the command NAME with the body as argument (control, verify, …)
POST /exit

A worker is a function(rank, pipe, options). It sends its device key first, then answers each (command, argument) by (True, value) or (False, text).
One that dies is started again. All times are seconds of CLOCK_MONOTONIC.
"""

import json
import multiprocessing
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

now = time.perf_counter
VLLM_ALONE = ("/pause", "/resume", "/reset_prefix_cache", "/update_weight_version")
PROCESSES = multiprocessing.get_context("spawn")


class Worker:
    def __init__(self, function, rank: int, options):
        self.function, self.rank, self.options, self.key = function, rank, options, None
        self.start()

    def start(self):
        self.pipe, theirs = PROCESSES.Pipe()
        self.process = PROCESSES.Process(target=self.function, args=(self.rank, theirs, self.options), daemon=True)
        self.process.start()
        theirs.close()
        self.key = None

    def ready(self, wait_s: float) -> bool:
        """Whether it can be asked; a dead one is started again."""
        if not self.process.is_alive():
            self.start()
        if self.key is None and self.pipe.poll(wait_s):
            try:
                self.key = self.pipe.recv()
            except EOFError:
                return False
        return self.key is not None

    def answer(self):
        try:
            return self.pipe.recv()
        except (EOFError, ConnectionError):
            self.process.join(5)
            return False, f"worker {self.rank} ended with {self.process.exitcode}"


class Workers:
    def __init__(self, function, count: int, options):
        self.lock, self.history = threading.Lock(), []
        self.all = [Worker(function, rank, options) for rank in range(count)]
        for worker in self.all:
            worker.ready(300)

    def ready(self) -> bool:
        if not self.lock.acquire(blocking=False):
            return True  # at work
        try:
            return all([worker.ready(0) for worker in self.all])
        finally:
            self.lock.release()

    def ask(self, command: str, argument=None) -> list:
        with self.lock:
            for worker in self.all:
                if not worker.ready(120):
                    raise RuntimeError(f"worker {worker.rank} does not start")
            for worker in self.all:
                worker.pipe.send((command, argument))
            answers = [worker.answer() for worker in self.all]
        failures = [value for good, value in answers if not good]
        if failures:
            raise RuntimeError("\n".join(failures))
        return [value for _, value in answers]

    def update(self, addresses: dict) -> list:
        entry = {"received": now(), "replied": None, "error": None, "workers": []}
        try:
            entry["workers"] = self.ask("update", addresses)
        except RuntimeError as error:
            entry["error"] = str(error)
            raise
        finally:
            entry["replied"] = now()
            self.history.append(entry)
        return [None] * len(self.all)


def make_handler(workers: Workers, stop):
    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def reply(self, status: int, body):
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def reply_with(self, work):
            try:
                self.reply(200, work())
            except Exception as error:  # noqa: BLE001
                print(error, flush=True)
                self.reply(500, {"detail": str(error)})

        def do_GET(self):  # noqa: N802
            if self.path == "/health":
                self.reply(200 if workers.ready() else 503, {})
            elif self.path == "/uuids":
                self.reply(200, [worker.key for worker in workers.all])
            elif self.path == "/pids":
                self.reply(200, [worker.process.pid for worker in workers.all])
            elif self.path == "/history":
                self.reply(200, workers.history)
            elif self.path == "/stats":
                self.reply_with(lambda: workers.ask("stats"))
            else:
                self.reply(404, {"detail": "Not Found"})

        def do_POST(self):  # noqa: N802
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
            if self.path == "/collective_rpc":
                self.reply_with(lambda: {"results": workers.update(body["args"][0])})
            elif self.path == "/exit":
                self.reply(200, {})
                stop()
            elif self.path.partition("?")[0] in VLLM_ALONE:
                self.reply(404, {"detail": "Not Found"})  # as an older vLLM, which has no such route
            else:
                self.reply_with(lambda: workers.ask(self.path[1:], body))

        def log_message(self, *_):
            pass

    return Door


def serve(function, count: int, port: int, options, port_file: Path | None = None) -> None:
    """Until /exit. Ends the workers. `port` 0: any free one, written to `port_file`."""
    workers = Workers(function, count, options)
    server = None
    server = ThreadingHTTPServer(("127.0.0.1", port), make_handler(workers, lambda: threading.Thread(target=server.shutdown).start()))
    if port_file:
        port_file.with_suffix(".new").write_text(str(server.server_port))
        port_file.with_suffix(".new").rename(port_file)
    print("ready", [worker.key for worker in workers.all], flush=True)
    server.serve_forever()
    for worker in workers.all:
        worker.process.kill()
        worker.process.join(10)
