"""Packs a site directory so that it can be copied to a GPU machine in one go: pack.py SITE OUT [--skip GLOB …]

OUT gets about 40 archives, which as many processes pack and unpack. Shared libraries lose what no Hopper GPU (compute capability 9.0) can load and no loader
reads, by zeros of the same length: device code for other GPUs and the debugger's symbol table. Host code and code for sm_90 stay byte for byte; so does PTX where
there is no code for sm_90.
"""

import argparse
import concurrent.futures
import fnmatch
import io
import lzma
import shutil
import struct
import tarfile
from pathlib import Path

FATBIN, PTX, NATIVE, HOPPER = 0xBA55ED50, 1, 2, 90


def section(data: bytes, wanted: bytes) -> tuple[int, int]:
    """Offset and size in a 64-bit ELF file; (0, 0) where there is none."""
    table, = struct.unpack_from("<Q", data, 0x28)
    entry_bytes, count, names_index = struct.unpack_from("<HHH", data, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", data, table + number * entry_bytes) for number in range(count)]
    names = headers[names_index][4]
    for name, _, _, _, offset, size in headers:
        if data[names + name : data.index(b"\0", names + name)] == wanted:
            return offset, size
    return 0, 0


def containers(data: bytes, offset: int, size: int):
    """Of each fatbin of the section: (kind, architecture, offset, size) of its entries."""
    at, end = offset, offset + size
    while at + 16 <= end:
        magic, _, head, length = struct.unpack_from("<IHHQ", data, at)
        if magic != FATBIN:
            at += 8
            continue
        entries, entry, at = [], at + head, at + head + length
        while entry < at:
            kind, _, entry_head, entry_size = struct.unpack_from("<HHIQ", data, entry)
            architecture, = struct.unpack_from("<I", data, entry + 28)
            if kind not in (PTX, NATIVE) or not 50 <= architecture <= 130 or entry + entry_head + entry_size > at:
                raise SystemExit(f"a fatbin entry at {entry:#x} that this program does not know: kind {kind}, architecture {architecture}")
            entries.append((kind, architecture, entry + entry_head, entry_size))
            entry += entry_head + entry_size
        yield entries


def thin(path: Path) -> bytes:
    data = bytearray(path.read_bytes())
    for entries in containers(data, *section(data, b".nv_fatbin")):
        native = any(kind == NATIVE and architecture == HOPPER for kind, architecture, _, _ in entries)
        for kind, architecture, offset, size in entries:
            if (kind, architecture) != (NATIVE, HOPPER) and not (kind == PTX and architecture <= HOPPER and not native):
                data[offset : offset + size] = bytes(size)
    for name in (b".symtab", b".strtab"):
        offset, size = section(data, name)
        data[offset : offset + size] = bytes(size)
    return bytes(data)


def pack(job: tuple[int, Path, list[Path], Path]) -> int:
    number, site, paths, out = job
    target = out / f"{number:03d}.tar.xz"
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 64 << 20}]
    with lzma.open(target, "wb", filters=filters) as file, tarfile.open(fileobj=file, mode="w|") as archive:
        for path in paths:
            if ".so" in path.name and path.stat().st_size > 1 << 20:
                archive.addfile(archive.gettarinfo(path, path.relative_to(site)), io.BytesIO(thin(path)))
            else:
                archive.add(path, path.relative_to(site), recursive=False)
    return target.stat().st_size


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("site", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--skip", nargs="*", default=[])
    arguments = parser.parse_args()
    shutil.rmtree(arguments.out, ignore_errors=True)
    arguments.out.mkdir(parents=True)
    groups, small, weight = [], [], 0
    for path in sorted(path for path in arguments.site.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        if any(fnmatch.fnmatch(str(path.relative_to(arguments.site)), glob) for glob in arguments.skip):
            continue
        if path.stat().st_size > 4 << 20:
            groups.append([path])
            continue
        small.append(path)
        weight += path.stat().st_size
        if weight > 8 << 20:
            groups.append(small)
            small, weight = [], 0
    groups.append(small)
    groups.sort(key=lambda group: -sum(path.stat().st_size for path in group))  # the longest first
    with concurrent.futures.ProcessPoolExecutor() as pool:
        sizes = list(pool.map(pack, [(number, arguments.site, group, arguments.out) for number, group in enumerate(groups)]))
    print(f"{arguments.out}: {sum(map(len, groups))} files in {len(sizes)} archives, {sum(sizes) / (1 << 20):.1f} MiB")


if __name__ == "__main__":
    main()
