"""What breaks around the processes: files that change while they are read, file systems without room, connections that are cut. Always: everyone ends in
time with one clear error, nothing is left over, the engine serves the old version, and the next update succeeds."""

import contextlib
import os
import resource
import shutil
import socket
import subprocess
import threading
import time

import pytest
from engine_world import SLOW, finish, one_error, wait_for
from expected_shards import reported


def expect_unharmed(world, ended):
    error = one_error(ended)
    assert ended.returncode > 0, ended.stderr
    engine = world.engines[0]
    weights = wait_for(lambda: (found := engine.weights())["state"] == "serving" and found, "the engine to serve")
    assert weights["version"] == "v1" and reported(weights) == world.known["v1"]
    assert world.left_over() == []
    again = world.update(world.v2, "v2", "--engine", "ckpt", ranks=2)
    assert again.returncode == 0, again.stderr
    assert reported(engine.weights()) == world.known["v2"]
    return error


def spoiled_while_read(world, spoil):
    """An update of a copy of v2 whose last file `spoil` changes after the headers were read, before its bytes are."""
    bad = world.path / "bad"
    shutil.copytree(world.v2, bad)
    held = world.path / "held"
    process = world.start_update(bad, "bad", "--engine", "ckpt", ranks=2, CKPT_FAULT=f"load.before_read:1:once={held};sleep=2", CKPT_FAULT_RANK="1")
    wait_for(held.exists, "rank 1 to hold before it reads")
    spoil(sorted(bad.glob("*.safetensors"))[-1])
    return finish(process, 30 * SLOW)


def test_a_file_is_cut_while_it_is_read(loaded):
    error = expect_unharmed(loaded, spoiled_while_read(loaded, lambda file: os.truncate(file, 4096)))
    assert "load" in error and ".safetensors" in error, error


def write_backwards(file):
    """In place: a file that is opened to be written anew is empty for a moment, which a rank may see."""
    with open(file, "r+b") as opened:
        content = opened.read()
        opened.seek(0)
        opened.write(content[::-1])


def test_a_file_is_rewritten_while_it_is_read(loaded):
    error = expect_unharmed(loaded, spoiled_while_read(loaded, write_backwards))
    assert "load" in error and "was changed" in error, error


def test_a_file_cannot_be_read(loaded):
    """A read of a directory's descriptor, of a bad block, of a lost mount: all are the failure of one read."""
    ended = loaded.update(loaded.v2, "v2", "--engine", "ckpt", ranks=2, CKPT_FAULT="sys.read:2:error", CKPT_FAULT_RANK="1")
    error = expect_unharmed(loaded, ended)
    assert "load" in error and "rank 1" in error, error


def in_small_tmpfs(world, folder, size, ranks=2):
    """An update that finds a tmpfs of `size` at `folder`, in a mount namespace of its own."""
    command = world.command(world.v2, "v2", ranks, 2, "--engine", "ckpt")
    as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
    tried = subprocess.run(["unshare", "--mount", *as_root, "mount", "-t", "tmpfs", "none", folder], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"no mount namespaces: {tried.stderr.strip()}")
    script = f'mount -t tmpfs -o size={size} none "$0" && exec "$@"'
    process = subprocess.Popen(
        ["unshare", "--mount", *as_root, "sh", "-c", script, folder, *command],
        env=world.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )
    return finish(process, 30 * SLOW)


def test_no_room_for_the_journal(loaded):
    """The runtime directory is on a full disk. The engine's own sockets lie elsewhere: it is asked over TCP."""
    folder = loaded.runtime / "full"
    folder.mkdir(mode=0o700)
    loaded.environment["XDG_RUNTIME_DIR"] = str(folder)
    ended = in_small_tmpfs(loaded, str(folder), "4k,nr_inodes=4")
    loaded.environment["XDG_RUNTIME_DIR"] = str(loaded.runtime)
    error = expect_unharmed(loaded, ended)
    assert "No space left" in error, error


@pytest.mark.parametrize("size", ["16k", "9m"])
def test_a_small_dev_shm_does_not_matter(loaded, size):
    """Room for no rank's shared memory, and for one rank's: other transports carry the messages, and nobody dies of SIGBUS."""
    ended = in_small_tmpfs(loaded, "/dev/shm", size)
    assert ended.returncode == 0, ended.stderr
    assert reported(loaded.engines[0].weights()) == loaded.known["v2"]
    assert loaded.left_over() == []


LIMITS = [(resource.RLIMIT_NOFILE, 40, "RLIMIT_NOFILE")]
if SLOW == 1:
    LIMITS.append((resource.RLIMIT_AS, 200 << 20, ""))  # sanitizers need all of the address space


@pytest.mark.parametrize(("limit", "value", "text"), LIMITS)
def test_a_limit_of_the_process_refuses(loaded, limit, value, text):
    process = subprocess.Popen(
        loaded.command(loaded.v2, "v2", 2, 2, "--engine", "ckpt"), env=loaded.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, preexec_fn=lambda: resource.setrlimit(limit, (value, value)),
    )
    error = expect_unharmed(loaded, finish(process, 30 * SLOW))
    assert "rank" in error and "killed" not in error and text in error, error


def test_a_limit_on_files_does_not_matter(loaded):
    """Slots are no files; what else is one finds another way, or is refused before the signal of this limit would end the process."""
    process = subprocess.Popen(
        loaded.command(loaded.v2, "v2", 2, 2, "--engine", "ckpt"), env=loaded.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, 4 << 20)),
    )
    ended = finish(process, 30 * SLOW)
    assert ended.returncode == 0, ended.stderr
    assert reported(loaded.engines[0].weights()) == loaded.known["v2"]


class Cable:
    """A connection that can be cut: forwards TCP from a port of its own to `target` until then."""

    def __init__(self, target):
        self.target, self.pairs = target, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = wait_for(lambda: self.dial(), "the far end", 10)
                self.pairs.append((near, far))
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self.pump, args=(source, sink), daemon=True).start()

    def dial(self):
        with contextlib.suppress(OSError):
            return socket.create_connection(("127.0.0.1", self.target))

    @staticmethod
    def pump(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)

    def cut(self):
        self.listener.close()
        for pair in self.pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()


def test_the_connection_of_a_rank_to_the_store_is_cut(loaded):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        store_port = probe.getsockname()[1]
    cable = Cable(store_port)
    held = loaded.path / "held"
    command = loaded.command(loaded.v2, "v2", 2, 2, "--engine", "ckpt")
    command = [part for i, part in enumerate(command) if part != "--nproc-per-node" and command[i - 1] != "--nproc-per-node"]
    ranks = []
    for rank, port in ((0, store_port), (1, cable.port)):
        place = {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port - 1)}
        fault = {"CKPT_FAULT": f"handover.after_ack:2:once={held};sleep=2", "CKPT_FAULT_RANK": "0"}
        ranks.append(subprocess.Popen(command, env=loaded.environment | place | fault, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True))
    wait_for(held.exists, "the hand-over")
    begin = time.monotonic()
    cable.cut()
    ended = [finish(rank, 20 * SLOW) for rank in ranks]
    assert time.monotonic() - begin < 15 * SLOW
    assert all(one.returncode > 0 for one in ended), [one.stderr for one in ended]
    assert "rank 1" in ended[0].stderr and "store" in ended[0].stderr, ended[0].stderr
    assert "store" in ended[1].stderr, ended[1].stderr
    expect_unharmed(loaded, ended[0])
