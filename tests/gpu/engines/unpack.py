"""Unpacks what pack.py made, a process an archive: unpack.py DIR SITE"""

import multiprocessing
import sys
import tarfile
from pathlib import Path


def unpack(job: tuple[Path, Path]) -> None:
    path, site = job
    with tarfile.open(path, "r|xz") as archive:
        for member in archive:
            (site / member.name).parent.mkdir(parents=True, exist_ok=True)  # tarfile's own fails where another process makes the folder at the same time
            archive.extract(member, site, filter="fully_trusted")


if __name__ == "__main__":
    archives = sorted(Path(sys.argv[1]).glob("*.tar.xz"), key=lambda path: -path.stat().st_size)
    with multiprocessing.Pool() as pool:
        pool.map(unpack, [(path, Path(sys.argv[2])) for path in archives], 1)
    print(f"{len(archives)} archives unpacked into {sys.argv[2]}")
