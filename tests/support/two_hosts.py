"""Two network namespaces, joined by a link, as two hosts. The first is the calling thread's own while it lasts: what the test starts and calls runs there.

  host A  10.93.0.1 ──veth── 10.93.0.2  host B

They share memory, files and process ids, as namespaces of one host do. `on_b(…, boot_id=…)` shows a command another boot id, which makes it regard
the two as different machines.
"""

import ctypes
import os
import subprocess
import time
from pathlib import Path

CLONE_NEWNET = 0x40000000
ADDRESS_A, ADDRESS_B = "10.93.0.1", "10.93.0.2"
OTHER_BOOT_ID = "11111111-2222-3333-4444-555555555555"


class Unavailable(Exception):
    """This machine lets nobody make namespaces: the reason."""


def ip(*arguments: str) -> str:
    try:
        ended = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise Unavailable("iproute2 is not installed") from error
    if ended.returncode != 0:
        raise Unavailable(f"ip {' '.join(arguments)}: {ended.stderr.strip()}")
    return ended.stdout


def enter(path: str | int) -> None:
    fd = path if isinstance(path, int) else os.open(path, os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, CLONE_NEWNET) != 0:
        raise Unavailable(f"setns: {os.strerror(ctypes.get_errno())}")
    if not isinstance(path, int):
        os.close(fd)


class TwoHosts:
    def __init__(self, path: Path):
        if os.geteuid() != 0:
            raise Unavailable("network namespaces need root")
        self.a, self.b = f"ckpt-a-{os.getpid()}", f"ckpt-b-{os.getpid()}"
        self.boot_id = path / "boot_id"
        self.boot_id.write_text(OTHER_BOOT_ID + "\n")
        self.home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self.made: list[str] = []
        try:
            self.build()
        except Unavailable:
            self.close()
            raise

    def build(self) -> None:
        for name in (self.a, self.b):
            ip("netns", "add", name)
            self.made.append(name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("link", "add", "link0", "netns", self.a, "type", "veth", "peer", "name", "link0", "netns", self.b)
        for name, address in ((self.a, ADDRESS_A), (self.b, ADDRESS_B)):
            ip("-n", name, "address", "add", f"{address}/24", "dev", "link0")
            ip("-n", name, "link", "set", "link0", "up")
        self.wait_for_link()
        enter(f"/run/netns/{self.a}")

    def close(self) -> None:
        enter(self.home)
        os.close(self.home)
        for name in self.made:
            ip("netns", "delete", name)

    def on_a(self, command: list[str]) -> list[str]:
        """`command`, to run on host A with a /sys that shows its interfaces: the thread's namespace alone does not change that."""
        return ["ip", "netns", "exec", self.a, *command]

    def on_b(self, command: list[str], other_boot_id: bool = False) -> list[str]:
        """`command`, to run on host B; its process keeps the number that starts it."""
        inside = ["ip", "netns", "exec", self.b]
        if other_boot_id:
            show = f"mount --bind {self.boot_id} /proc/sys/kernel/random/boot_id && exec \"$@\""
            inside += ["unshare", "--mount", "sh", "-c", show, "sh"]
        return inside + command

    def cut(self) -> None:
        ip("-n", self.b, "link", "set", "link0", "down")

    def mend(self) -> None:
        ip("-n", self.b, "link", "set", "link0", "up")
        self.wait_for_link()

    def wait_for_link(self) -> None:
        """The kernel tells of a carrier up to a second later; until then UCX does not see the interface."""
        end = time.monotonic() + 10
        for name in (self.a, self.b):
            while "state UP" not in ip("-n", name, "link", "show", "link0"):
                if time.monotonic() > end:
                    raise Unavailable("the link between two namespaces does not come up")
                time.sleep(0.02)

    def slow_down(self, rate: str) -> None:
        """Raises Unavailable where the kernel has no token bucket."""
        try:
            ended = subprocess.run(self.on_b(["tc", "qdisc", "add", "dev", "link0", "root", "tbf", "rate", rate, "burst", "32kbit", "latency", "400ms"]), capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            raise Unavailable("tc is not installed") from error
        if ended.returncode != 0:
            raise Unavailable(f"tc tbf: {ended.stderr.strip()}")

    def full_speed(self) -> None:
        subprocess.run(self.on_b(["tc", "qdisc", "delete", "dev", "link0", "root"]), check=True)

    def received_bytes(self) -> int:
        """Bytes that have come over the link to host A."""
        for line in Path("/proc/thread-self/net/dev").read_text().splitlines():
            name, _, counts = line.partition(":")
            if name.strip() == "link0":
                return int(counts.split()[0])
        raise AssertionError("the link is gone")
