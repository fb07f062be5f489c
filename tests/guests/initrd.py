"""Initrds: a cpio archive written byte for byte the same every time, and a small one with busybox for guests.

As a command, `python3 -m tests.guests.initrd OUT [--init FILE]` writes the small one.
"""

from __future__ import annotations

import argparse
import gzip
import re
import stat
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.guests import debian

INIT = Path(__file__).with_name("initrd-init")


@dataclass(frozen=True)
class Entry:
    """One file of an archive. Owner and group are root, the time is 1970."""

    mode: int  # type and permissions, as in stat's st_mode
    data: bytes = b""
    device: tuple[int, int] = (0, 0)  # major and minor of a device node


def directory() -> Entry:
    return Entry(stat.S_IFDIR | 0o755)


def executable(data: bytes) -> Entry:
    return Entry(stat.S_IFREG | 0o755, data)


def regular(data: bytes) -> Entry:
    return Entry(stat.S_IFREG | 0o644, data)


def character_device(major: int, minor: int) -> Entry:
    return Entry(stat.S_IFCHR | 0o600, device=(major, minor))


def archive(entries: Mapping[str, Entry]) -> bytes:
    """An uncompressed archive in cpio's newc format (Linux's Documentation/driver-api/early-userspace).

    Keys are paths without a leading slash. Directories that files need are added.
    """
    parents = {str(parent): directory() for path in entries for parent in Path(path).parents if parent.name}
    out = bytearray()
    for number, (path, entry) in enumerate(sorted({**parents, **entries}.items()), start=1):
        out += _record(path, entry, number)
    return bytes(out + _record("TRAILER!!!", Entry(0), 0))


def busybox(init: bytes) -> dict[str, Entry]:
    """What a small system needs: busybox, an /init, the mount points and the first device nodes."""
    empty = {name: directory() for name in ("dev", "proc", "root", "sys", "tmp")}
    return {
        **empty,
        "bin/busybox": executable(debian.busybox().read_bytes()),
        "dev/console": character_device(5, 1),
        "dev/null": character_device(1, 3),
        "init": executable(init),
    }


def program(path: str) -> dict[str, Entry]:
    """A program of this machine, in /bin, and the libraries that it loads, where the program expects them."""
    listed = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
    libraries = {file[1:]: executable(Path(file).read_bytes()) for file in re.findall(r"(/\S+) \(0x", listed)}
    return {f"bin/{Path(path).name}": executable(Path(path).read_bytes()), **libraries}


def write(out: Path, init: Path = INIT) -> None:
    """Write the small initrd, compressed, the same bytes every time."""
    out.write_bytes(gzip.compress(archive(busybox(init.read_bytes())), mtime=0))


def _record(path: str, entry: Entry, number: int) -> bytes:
    name = path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    header = (number, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
    text = b"070701" + b"".join(b"%08x" % field for field in header)
    return _padded(text + name) + _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a small initrd with busybox.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--init", type=Path, default=INIT, help="the first process (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        write(arguments.out, arguments.init)
    except debian.DebianError as error:
        sys.exit(f"initrd.py: {error}")


if __name__ == "__main__":
    main()
