"""The table: report.py DIR [DIR …]. Each DIR is what `run` left of one model: limits.json, history.json, and PREFIX.rankN.json of the senders.

Moments, in seconds from the call of update() on the first rank to:
    data     (counted from the first copy to a GPU) the last worker has answered its last bucket
    loaded   the last worker has answered its last bucket
    reply    the workers' door has answered the HTTP call: the engine is free
    total    update() has returned on the last rank
Medians of warm updates: the first of a series is left out. floor: half the bytes over each GPU's link, at the rate measured while all links are busy.
"""

import json
import statistics
import sys
from pathlib import Path

MOMENTS = ("data", "loaded", "reply", "total")
GIB = 1 << 30


def load_ranks(directory: Path, prefix: str) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(directory.glob(f"{prefix}.rank*.json"))]


def read_limits(directory: Path) -> dict:
    path = directory / "limits.json"
    return json.loads(path.read_text()) if path.exists() else {}


class Sender:
    """What the ranks of one process group noted, joined with what the door saw."""

    def __init__(self, ranks: list[dict], history: list[dict]):
        self.ranks, self.updates = ranks, []
        for number, first in enumerate(ranks[0]["update"]):
            same = [rank["update"][number] for rank in ranks]
            begin, end = min(row["begin"] for row in same), max(row["end"] for row in same)
            seen = next((entry for entry in history if begin < entry["received"] < end), None)
            if seen is None or seen["error"]:
                raise SystemExit(f"update {number} of {ranks[0]['sender']} is not in the workers' history: {seen}")
            loaded = max(worker["last_answer"] for worker in seen["workers"])
            moments = dict(data=loaded - min(row["first_copy"] for row in same), loaded=loaded - begin, reply=seen["replied"] - begin, total=end - begin)
            self.updates.append(dict(moments, loader=first["loader"], turn=first["turn"], workers=seen["workers"], number=number))

    def warm(self, loader: str, moment: str) -> list[float]:
        return [row[moment] for row in self.updates if row["loader"] == loader and row["turn"] > 0]

    def median(self, loader: str, moment: str):
        values = self.warm(loader, moment)
        return statistics.median(values) if values else None

    def loaders(self) -> list[str]:
        return list(dict.fromkeys(row["loader"] for row in self.updates))

    def buffer_bytes(self):
        """GPU memory that appeared between the beginning of an update and its first bucket, the most of any worker's GPU."""
        seen = [worker["memory_at_first_bucket"] - worker["memory_before"] for row in self.updates for worker in row["workers"] if worker["memory_at_first_bucket"]]
        return max(seen) if seen else None

    def worker_seconds(self, loader: str, what: str) -> float:
        return statistics.median(max(worker["spent"][what] for worker in row["workers"]) for row in self.updates if row["loader"] == loader and row["turn"] > 0)

    def register_s(self, mode: str) -> list[float]:
        """Of each registration in this mode, the slower rank's."""
        times = [[row["end"] - row["begin"] for row in rank["register"] if row["mode"] == mode] for rank in self.ranks]
        return [max(values) for values in zip(*times)]

    def gather_s(self, kind: str) -> list[float]:
        times = [[row["end"] - row["begin"] for row in rank["gather"] if row["kind"] == kind] for rank in self.ranks]
        return [max(values) for values in zip(*times)]

    def beyond_share_bytes(self) -> int:
        return max(rank["memory"]["updated"]["VmRSS"] - rank["checkpoint_bytes"] // len(self.ranks) for rank in self.ranks)


def cell(value, unit: str, relative=()) -> str:
    """`1.234 s (1.05 × floor)`."""
    if value is None:
        return "-"
    text = f"{value:.3f} s" if unit == "s" else f"{value * 1e3:.1f} ms" if unit == "ms" else f"{value / GIB:.2f} GiB" if unit == "GiB" else f"{value / (1 << 20):.1f} MiB"
    notes = [f"{value / base:.2f} × {name}" for name, base in relative if base]
    return text + (f" ({', '.join(notes)})" if notes else "")


def senders(directory: Path, workers: str, *prefixes: str) -> list[Sender]:
    history = json.loads((directory / f"history-{workers}.json").read_text())
    return [Sender(ranks, history) for ranks in (load_ranks(directory, prefix) for prefix in prefixes) if ranks]


def rows_with_our_worker(directory: Path, floor: float | None, theirs_alone: Sender | None):
    """The same moments with our worker. In the reference's column its own sender with our worker; × reference: with its own worker."""
    reference, ours = senders(directory, "ours", "reference-own"), senders(directory, "ours", "ours-own")
    for loader in ours[0].loaders() if ours else []:
        for moment in MOMENTS:
            mixed, own = (sender[0].median(loader, moment) if sender else None for sender in (reference, ours))
            alone = theirs_alone.median(loader, moment) if theirs_alone else None
            extra = f"floor + {(own - floor) * 1e3:.0f} ms" if floor else ""
            yield f"our worker: {moment}, loader {loader}", cell(mixed, "s", [("floor", floor)]), cell(own, "s", [("floor", floor), ("reference", alone)]), extra
        for what in ("load", "wait"):
            yield f"  our worker's {what}", *(cell(sender[0].worker_seconds(loader, what), "s") if sender and loader in sender[0].loaders() else "-" for sender in (reference, ours)), ""
    wrong = [worker["wrong"] for sender in reference + ours for rank in sender.ranks for entry in rank["verify"] for worker in entry["workers"]]
    yield "our worker: tensors that differ from the files", "", str(sum(wrong)), f"{len(wrong)} comparisons"


def rows_of(directory: Path):
    limits = read_limits(directory)
    reference, ours = senders(directory, "published", "reference-normal", "reference"), senders(directory, "published", "ours-read", "ours")
    size, num_ranks = ours[-1].ranks[0]["checkpoint_bytes"], len(ours[-1].ranks)
    floor = size / num_ranks / limits["h2d_together"] if limits else None
    share = next((value for name, value in limits.items() if name.startswith("populate_register_") and abs(float(name.rsplit("_", 1)[1]) - size / num_ranks / 1e9) < 0.2), None)
    yield "floor: a share over its link, all busy", cell(floor, "s"), "", ""
    for loader in dict.fromkeys(sum((sender.loaders() for sender in ours + reference), [])):
        for moment in MOMENTS:
            theirs = reference[-1].median(loader, moment) if reference else None
            own = ours[-1].median(loader, moment)
            count = len(ours[-1].warm(loader, moment))
            extra = "" if own is None else f"min {min(ours[-1].warm(loader, moment)):.3f}, max {max(ours[-1].warm(loader, moment)):.3f}, n {count}"
            yield f"{moment}, loader {loader}", cell(theirs, "s", [("floor", floor)]), cell(own, "s", [("floor", floor), ("reference", theirs)]), extra
        for what in ("load", "unpickle", "wait"):
            yield f"  worker's {what}, slower worker", *(cell(senders[-1].worker_seconds(loader, what), "s") if senders and loader in senders[-1].loaders() else "-" for senders in (reference, ours)), ""
    first = [[sender.updates[0][moment] for moment in ("loaded", "total")] for senders in (reference, ours) for sender in senders[-1:]]
    yield "first update of a fresh group: loaded / total", *(" / ".join(cell(value, "s") for value in values) for values in first), f"loader {ours[-1].updates[0]['loader']}"
    yield "GPU memory that an update takes", *(cell(senders[-1].buffer_bytes() if senders else None, "GiB") for senders in (reference, ours)), ""
    slots = ours[-1].ranks[0]["update"][-1]["slots"]
    yield "slots, as reported", "", f"{slots['count']} × {slots['bytes'] / (1 << 20):.0f} MiB", f"{slots['frames']} frames"
    for title, theirs, own, limit in (("register from tmpfs, first time", "normal", "read", share), ("register in place", "inplace", "adopt", None), ("register into the reused pool", "pool", "reuse", None)):
        left = [value for sender in reference for value in sender.register_s(theirs)]
        right = [value for sender in ours for value in sender.register_s(own)]
        yield title, " / ".join(cell(value, "s") for value in left) or "-", " / ".join(cell(value, "s", [("populate + register", limit)]) for value in right) or "-", f"populate + register: {limit:.3f} s" if limit else ""
    for kind in ("first", "again"):
        yield f"gather metas, {kind}", *(cell(statistics.median(senders[-1].gather_s(kind)), "ms") if senders else "-" for senders in (reference, ours)), ""
    yield "RSS beyond the share, after the updates", *(" / ".join(cell(sender.beyond_share_bytes(), "GiB") for sender in senders) or "-" for senders in (reference, ours)), "last: files in place"
    heap = max(row["own_heap_bytes"] for sender in ours for rank in sender.ranks for row in rank["update"])
    yield "host allocations beside the pool", "", cell(heap, "MiB"), "mallinfo2"
    wrong = [(entry["loader"], worker["wrong"]) for sender in reference + ours for rank in sender.ranks for entry in rank["verify"] for worker in entry["workers"]]
    yield "tensors that differ from the files", "", str(sum(count for _, count in wrong)), f"{len(wrong)} comparisons"
    if (directory / "history-ours.json").exists():
        yield from rows_with_our_worker(directory, floor, reference[-1] if reference else None)


def main():
    for directory in map(Path, sys.argv[1:]):
        limits = read_limits(directory)
        rates = ", ".join(f"{name} {value / 1e9:.1f}" for name, value in limits.items() if isinstance(value, float) and value > 1e6)
        print(f"\n## {directory.name}, {limits.get('gpu', '')}\n\nLimits, GB/s: {rates}.\n")
        print("| what | reference | ckpt-engine | |\n|---|---|---|---|")
        for row in rows_of(directory):
            print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
