"""How a real vLLM on the CPU starts, as a timeline: by its ordinary loader from the disk, and filled by a waiting `ckpt-engine update` (load format ckpt_engine).

    build/vllm/bin/python bench/vllm/start_timeline.py build/release --out start.json [--size 400MB] [--rounds 3]

Both starts in turn, with the checkpoint's files out of the page cache; of several rounds the fastest start of each kind is shown. The sender starts together with the engine, and reads while that is
still being made. start.json opens in https://ui.perfetto.dev: one process for each start, and the sender's ranks; both begin at 0. vLLM's parts come from its
own log, with the times of its records; the sender's from `--trace`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from engine import Vllm, forget_cached, free_port, make_checkpoint

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"timed": {"format": "@%(created).6f %(message)s"}},
    "handlers": {"out": {"class": "logging.StreamHandler", "formatter": "timed", "stream": "ext://sys.stdout"}},
    "root": {"level": "WARNING", "handlers": ["out"]},
    "loggers": {"vllm": {"level": "INFO", "handlers": ["out"], "propagate": False},
                "vllm.model_executor.model_loader": {"level": "DEBUG", "handlers": ["out"], "propagate": False}},
}

# What vLLM's log says when a part ends, in order, and the part's name. A start has those that it says.
SAID = (
    ("vLLM server version", "imports of the HTTP process"),
    ("Initializing a V1 LLM engine", "imports of the engine's process"),
    ("Starting to load model", "imports of the worker, its setting up"),
    ("Loading weights on", "empty model"),
    ("Loading weights took", "weights from files"),
    ("waiting for weights at", "made-up weights, made ready"),
    ("Creating weight transfer engine", "weights made ready"),
    ("init engine (", "cache, warm-up"),
)
READY, FIRST_TOKEN, FROM_SENDER = "HTTP server is ready", "first token", "weights from the sender"


def records(log: Path) -> list:
    """(time, text) of the log's lines that have a time."""
    found = []
    for line in log.read_text(errors="replace").splitlines():
        _, at, rest = line.partition("@")
        stamp, _, text = rest.partition(" ")
        if at and stamp.replace(".", "", 1).isdigit():
            found.append((float(stamp), text))
    return found


def parts_of(started: float, log: Path, ready: float, first_token: float) -> list:
    """(part, begin, end) in seconds since `started`, one after the other."""
    said, parts, at = records(log), [], started
    ends = [(name, next((time for time, text in said if text.startswith(mark) and time >= started), None)) for mark, name in SAID]
    for name, end in [*ends, (READY, ready), (FIRST_TOKEN, first_token)]:
        if end is not None:
            parts.append((name, at - started, end - started))
            at = end
    return parts


def ordinary(build: Path, model: Path, log: Path, environment: dict) -> tuple:
    forget_cached(model)
    with Vllm(build, model, log, ["--load-format", "auto"], environment) as server:
        ready = server.wait_ready()
        return parts_of(server.started, log, ready, server.first_token()), []


def filled(build: Path, model: Path, log: Path, environment: dict) -> tuple:
    """And the sender's events, in microseconds since the start."""
    forget_cached(model)
    port, trace = free_port(), log.with_suffix(".trace")
    options = ["--load-format", "ckpt_engine", "--model-loader-extra-config", json.dumps({"port": port})]
    with Vllm(build, model, log, options, environment) as server:
        command = [build / "bin" / "ckpt-engine", "update", "--engine", "vllm", "--device", "host", "--endpoint", f"http://127.0.0.1:{port}",
                   "--checkpoint-path", model, "--ready-timeout", "600s", "--timeout", "600s", "--quiet", "--trace", trace]
        with subprocess.Popen(command) as sender:
            try:
                ready = server.wait_ready()
                first_token = server.first_token()
                if sender.wait(60) != 0:
                    raise RuntimeError(f"the sender ended with {sender.returncode}")
            finally:
                sender.kill()  # of one that has ended nothing is done
        events = [{**event, "ts": event["ts"] - 1e6 * server.started} if "ts" in event else event for event in json.loads(trace.read_text())["traceEvents"]]
        return with_sender(parts_of(server.started, log, ready, first_token), events), events


def with_sender(parts: list, events: list) -> list:
    """What vLLM calls one part, from its door's opening to its weights being ready, is two: until the last bucket was answered, and after it."""
    last = max((event["ts"] + event["dur"]) / 1e6 for event in events if event.get("name") == "hand-over: offer")
    divided = []
    for name, begin, end in parts:
        divided += [(FROM_SENDER, begin, last), (name, last, end)] if begin < last < end else [(name, begin, end)]
    return divided


def timeline(starts: dict) -> dict:
    """Of name → (parts, events of a sender), as a Chrome trace."""
    events = []
    for number, (name, (parts, of_sender)) in enumerate(starts.items(), 1):
        events.append({"ph": "M", "name": "process_name", "pid": number, "args": {"name": f"vLLM, {name}"}})
        events += [{"ph": "X", "cat": "vLLM", "name": part, "pid": number, "tid": 1, "ts": 1e6 * begin, "dur": 1e6 * (end - begin)}
                   for part, begin, end in parts]
        for event in of_sender:
            moved = {**event, "pid": 100 * number + event["pid"]}
            if event["ph"] == "M":
                moved["args"] = {"name": f"sender, {event['args']['name']}"}
            events.append(moved)
    return {"displayTimeUnit": "ms", "traceEvents": events}


def table(starts: dict) -> str:
    known = [*(part for _, part in SAID[:6]), FROM_SENDER, *(part for _, part in SAID[6:]), READY, FIRST_TOKEN]
    seconds = {name: {part: end - begin for part, begin, end in parts} for name, (parts, _) in starts.items()}
    lines = ["| seconds | " + " | ".join(starts) + " |", "|---|" + "---|" * len(starts)]
    for part in known:
        lines.append(f"| {part} | " + " | ".join(f"{seconds[name][part]:.2f}" if part in seconds[name] else "" for name in starts) + " |")
    lines.append("| **start to first token** | " + " | ".join(f"**{parts[-1][2]:.1f}**" for parts, _ in starts.values()) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", type=Path, help="of the release preset")
    parser.add_argument("--out", type=Path, default=Path("start.json"), help="the timeline")
    parser.add_argument("--size", default="400MB")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    build = arguments.build.resolve()
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        model = make_checkpoint(build, folder / "model", arguments.size, 1)
        (folder / "logging.json").write_text(json.dumps(LOGGING))
        environment = {"VLLM_LOGGING_CONFIG_PATH": str(folder / "logging.json")}
        starts: dict = {"loader from the disk": [], "filled by a sender": []}
        for _ in range(arguments.rounds):
            for begin, made in zip((ordinary, filled), starts.values()):
                made.append(begin(build, model, folder / f"{begin.__name__}.log", environment))
                print(f"{begin.__name__}: {made[-1][0][-1][2]:.1f} s", file=sys.stderr)
    fastest = {name: min(made, key=lambda start: start[0][-1][2]) for name, made in starts.items()}
    arguments.out.write_text(json.dumps(timeline(fastest)))
    print(table(fastest))


if __name__ == "__main__":
    main()
