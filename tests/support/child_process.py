"""The end of a process that a test started."""

import os
import signal
import subprocess


def finish(process: subprocess.Popen, limit_s: float) -> subprocess.CompletedProcess:
    """Waits for a process; one that does not end is a failure, and does not stay."""
    try:
        out, err = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise AssertionError(f"did not end within {limit_s} s\n{out}\n{err}") from None
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
