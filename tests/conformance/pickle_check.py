"""The product's pickles against Python's own: what it writes, pickle loads; what pickle writes, it reads. Usage: pickle_check.py TOOL"""

import json
import pickle
import random
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support" / "torch_standin"))

import torch  # noqa: E402
from torch.multiprocessing.reductions import rebuild_cuda_tensor  # noqa: E402

TOOL = sys.argv[1]
PROTOCOLS = range(2, pickle.HIGHEST_PROTOCOL + 1)


class Tool:
    def __init__(self):
        self.process = subprocess.Popen([TOOL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")

    def ask(self, line: str) -> str:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().rstrip("\n")

    def read(self, pickled: bytes) -> tuple[str, str]:
        verdict, _, text = self.ask("read " + pickled.hex()).partition(" ")
        return verdict, json.loads(text)

    def write(self, **message) -> bytes:
        return bytes.fromhex(self.ask("write " + json.dumps(message)))

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=10)


def text_repr(text: str) -> str:
    shown = "".join(f"\\x{ord(c):02x}" if (ord(c) < 0x20 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0 else c for c in text.replace("\\", "\\\\").replace('"', '\\"'))
    return f'"{shown}"'


def as_the_tool(value) -> str:
    """What pickle_repr shows of a value."""
    if value is None or isinstance(value, bool):
        return repr(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"{value:.17g}"
    if isinstance(value, str):
        return text_repr(value)
    if isinstance(value, bytes):
        return f'b"{value.hex()}"'
    if isinstance(value, torch.dtype):
        return f"torch.{value.name}"
    if isinstance(value, torch.Size):
        return f"torch.Size({as_the_tool(tuple(value))})"
    if isinstance(value, BaseException):
        name = type(value).__qualname__
        return f"{type(value).__module__}.{name}({', '.join(map(as_the_tool, value.args))})"
    if isinstance(value, tuple):
        return f"({', '.join(map(as_the_tool, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, list):
        return f"[{', '.join(map(as_the_tool, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{as_the_tool(k)}: {as_the_tool(v)}" for k, v in value.items()) + "}"
    if isinstance(value, type) or callable(value):
        return f"{value.__module__}.{value.__qualname__}"
    raise TypeError(type(value))


# What engines load; sub-byte ones are refused before anything is sent.
DTYPES = "float32 float16 bfloat16 float8_e4m3fn float8_e5m2 float8_e8m0fnu float8_e4m3fnuz float8_e5m2fnuz uint8 uint16 uint32 uint64 int8 int16 int32 int64 bool float64".split()
TEXTS = ["", "a", "layer.0.weight", "é", "漢字" * 5, "\U0001f600", 'quote " and \\', "line\nbreak\ttab", "\x00\x1b\x7f\x85", "n" * 300]
NUMBERS = [0, 1, 255, 256, 65535, 65536, -1, -(2**31), 2**31 - 1, 2**31, 2**40, -(2**40), 2**63 - 1, -(2**63)]


def any_value(random_: random.Random, depth: int = 0):
    kind = random_.choice("ntfixsb" if depth > 4 else "ntfixsbTTLLDZ")
    children = lambda: [any_value(random_, depth + 1) for _ in range(random_.randrange(5))]  # noqa: E731
    return {
        "n": lambda: None,
        "t": lambda: random_.random() < 0.5,
        "f": lambda: random_.choice([0.0, -1.5, 1e300, 1 / 3]),
        "i": lambda: random_.choice(NUMBERS),
        "x": lambda: random_.choice([torch.bfloat16, torch.float8_e4m3fn, torch.uint8]),
        "s": lambda: random_.choice(TEXTS),
        "b": lambda: bytes(random_.randrange(256) for _ in range(random_.choice([0, 3, 64, 300]))),
        "T": lambda: tuple(children()),
        "L": children,
        "D": lambda: {random_.choice(TEXTS): child for child in children()},
        "Z": lambda: torch.Size(random_.choice([(), (1,), (2, 3), (1, 2, 3, 70000)])),
    }[kind]()


class PickleCheck(unittest.TestCase):
    def setUp(self):
        self.tool = Tool()
        self.addCleanup(self.tool.close)

    def expect_read(self, value, protocol: int):
        self.assertEqual(self.tool.read(pickle.dumps(value, protocol)), ("ok", as_the_tool(value)), f"{value!r}, protocol {protocol}")

    def test_python_loads_what_is_written(self):
        self.assertIsNone(pickle.loads(self.tool.write(kind="none")))
        for text in TEXTS:
            abort = pickle.loads(self.tool.write(kind="abort", text=text))
            self.assertIs(type(abort), RuntimeError)
            self.assertEqual(abort.args, (text,))

    def test_python_loads_handles(self):
        for size in (1, 255, 256, 65536, 2**29, 2**31, 2**31 - 1, 2**32, 2**33, 2**39, 2**40 + 256):
            function, arguments = pickle.loads(self.tool.write(kind="handle", ipc="ab" * 64, bytes=size))
            self.assertIs(function, rebuild_cuda_tensor)
            expected = (torch.Tensor, torch.Size((size,)), (1,), 0, torch.storage.TypedStorage, torch.uint8, 0, b"\xab" * 64, size, 0, False, b"", 0, b"", False)
            self.assertEqual(arguments, expected)
            self.assertIs(type(arguments[1]), torch.Size)
            self.assertEqual([type(arguments[10]), type(arguments[14])], [bool, bool])

    def test_python_loads_buckets(self):
        shapes = [(), (1,), (2, 3), (4, 5, 6), (1, 2, 3, 4), (0,), (255, 256, 65536), (70000,) * 6]
        dtypes = [name for name, value in vars(torch).items() if isinstance(value, torch.dtype)]
        tensors = [
            {"name": f"{TEXTS[i % len(TEXTS)]}-{i}", "dtype": dtypes[i % len(dtypes)], "shape": shapes[i % len(shapes)], "offset": offset}
            for i, offset in enumerate([0, 256, 512, 65536, 2**31, 2**32, 5 * 2**30, 2**40] * 5)
        ]
        for count in (0, 1, 2, len(tensors)):
            loaded = pickle.loads(self.tool.write(kind="bucket", tensors=tensors[:count]))
            expected = [t | {"dtype": getattr(torch, t["dtype"]), "shape": torch.Size(t["shape"])} for t in tensors[:count]]
            self.assertEqual(loaded, expected)
            self.assertTrue(all(type(item["shape"]) is torch.Size for item in loaded))

    def expect_bucket(self, **tensor):
        """One tensor, as Python's two unpicklers load it."""
        tensor = {"name": "w", "dtype": "uint8", "shape": [1], "offset": 0} | tensor
        pickled = self.tool.write(kind="bucket", tensors=[tensor])
        for load in (pickle.loads, pickle._loads):
            (loaded,) = load(pickled)
            self.assertEqual(loaded, tensor | {"dtype": getattr(torch, tensor["dtype"]), "shape": torch.Size(tensor["shape"])})
            self.assertIs(type(loaded["shape"]), torch.Size)
            self.assertEqual([type(value) for value in (loaded["name"], loaded["offset"])], [str, int])

    def test_buckets_carry_every_dtype_that_engines_know(self):
        for name in DTYPES:
            self.expect_bucket(dtype=name)

    def test_buckets_carry_names_of_any_length(self):
        for length in (1, 254, 255, 256, 257, 65535, 65536, 1 << 20):
            self.expect_bucket(name="n" * length)
            self.expect_bucket(name="é" * (length // 2) + "x" * (length % 2))  # the length counts bytes

    def test_buckets_carry_offsets_beyond_4_gib(self):
        for exponent in range(8, 47):
            for offset in (2**exponent - 256, 2**exponent, 2**exponent + 256):
                self.expect_bucket(offset=offset)

    def test_buckets_carry_shapes_of_any_rank(self):
        for shape in ([], [0], [1] * 3, [1] * 4, [2] * 20, [2**31 - 1], [2**31], [2**32, 3], [2**40, 1, 0, 7]):
            self.expect_bucket(shape=shape)

    def test_handles_carry_any_64_bytes(self):
        random_ = random.Random(11)
        for ipc in (bytes(64), bytes(range(192, 256)), b"\x02c" * 32, b"." * 64, random_.randbytes(64)):
            _, arguments = pickle.loads(self.tool.write(kind="handle", ipc=ipc.hex(), bytes=768))
            self.assertEqual((arguments[7], type(arguments[7])), (ipc, bytes))

    def test_what_python_writes_is_read(self):
        shared = ["x", ("y", 1)]
        samples = [None, True, False, *NUMBERS, 0.0, -0.0, 1e-300, *TEXTS, b"", b"\x00\xff" * 200, (), (1,), [1], {}, {"a": {1: (2,)}}, [shared, shared]]
        for protocol in PROTOCOLS:
            for value in samples:
                if protocol == 2 and isinstance(value, bytes):
                    continue  # that protocol has no bytes: it calls codecs.encode, which is refused
                self.expect_read(value, protocol)

    def test_large_rows_are_read(self):
        for protocol in PROTOCOLS:
            self.expect_read(list(range(2500)), protocol)  # several APPENDS
            self.expect_read({str(i): [i] for i in range(2500)}, protocol)

    def test_values_at_random_are_read(self):
        random_ = random.Random(7)
        for _ in range(300):
            self.expect_read(any_value(random_), random_.choice([3, 4, 5]))

    def test_messages_of_the_reference_are_read(self):
        handle = (rebuild_cuda_tensor, (torch.Tensor, torch.Size((512,)), (1,), 0, torch.storage.TypedStorage, torch.uint8, 3, b"\x02c" + b"h" * 64, 512, 0, False, b"/torch_1_2_0", 0, b"e" * 64, True))
        bucket = [{"name": f"layer.{i}", "shape": torch.Size((2, 3)), "dtype": torch.bfloat16, "offset": i * 256} for i in range(1200)]
        for protocol in (3, 4, 5):
            for message in (handle, bucket, None, RuntimeError("Some workers failed to update weights")):
                self.expect_read(message, protocol)

    def test_exceptions_are_read(self):
        samples = [RuntimeError("CUDA out of memory"), ValueError(), KeyError("w", 3), torch.cuda.OutOfMemoryError("2 GiB"), AssertionError(("a", 1))]
        for protocol in (4, 5):
            for value in samples:
                self.expect_read(value, protocol)

    def test_what_could_do_harm_is_refused(self):
        class Call:
            def __reduce__(self):
                return print, ("harm",)

        class State:
            def __getstate__(self):
                return {"a": 1}

        globals()["State"] = State
        State.__qualname__ = "State"
        for value, opcode in ((Call(), "builtins.print"), (State(), "State"), ({1, 2}, "EMPTY_SET"), (bytearray(b"x"), "bytearray"), (2**70, "64 bits")):
            for protocol in (4, 5):
                verdict, text = self.tool.read(pickle.dumps(value, protocol))
                self.assertEqual(verdict, "refused", text)
                self.assertRegex(text, rf"({opcode}|BYTEARRAY8).* at offset \d+$")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
