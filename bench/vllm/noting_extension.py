"""Our worker extension with a clock: notes when it begins and ends to load a bucket, to look for what is missing and to commit. For update_parts.py."""

import time

from ckpt_engine.vllm.model_update import ModelUpdate
from ckpt_engine.worker import VllmColocateWorkerExtension

NOTES = []  # (what, begin, end), seconds of the wall clock


def noted(what, work):
    def timed(*arguments):
        begin = time.time()
        try:
            return work(*arguments)
        finally:
            NOTES.append((what, begin, time.time()))

    return timed


class NotingExtension(VllmColocateWorkerExtension):
    def bench_notes(self) -> list:
        """Those since the last call."""
        for name in ("load", "check", "commit"):  # once: what is wrapped already is a plain function of that name
            work = getattr(ModelUpdate, name)
            if work.__name__ == name:
                setattr(ModelUpdate, name, noted(name, work))
        taken = list(NOTES)
        NOTES.clear()
        return taken
