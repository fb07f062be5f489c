"""Kept plans: an unchanged spec starts without being read, checked and planned again.

A kept plan is valid while its sources are unchanged: the spec's text, the overrides, this package's sources, Python,
and the images, identified by their :class:`~vmspec.image.source.Version`. The check that no file has two uses is made
each time. A plan with notes, or of a spec with warnings, is not kept: both are for the user, and may change with the
host.

The plans are beside the unpacked kernels, in ``plans`` of the cache, in a fixed number of places; two specs with the
same place replace each other. A file there is a line (this tool, Python, a CRC-32) and :mod:`marshal`'s data. A file of
another user, one that others can write to, or an incomplete one is ignored.
"""

import marshal
import os
import stat
import sys
import time
from binascii import crc32
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from vmspec import __version__
from vmspec.host import cache
from vmspec.image.source import version
from vmspec.plan import serial
from vmspec.plan.plan import Plan, PlannedFile
from vmspec.schema.expressions import texts
from vmspec.schema.problems import SpecError
from vmspec.spec import fileuse

PLACES = 1024
LARGEST = 16 << 20  # bytes of a kept plan
SPEC_MAX = 1 << 20  # bytes of a spec
ABANDONED = 60  # seconds after which an unfinished file may be removed
BOM = b"\xef\xbb\xbf"
HEADER = f"vmrun {__version__} {serial.FORMAT} {sys.hexversion:x} ".encode()


def plan(spec: Path, overrides: Sequence[str] | str) -> tuple[Plan, Callable[[], None]]:
    """The plan of a spec's file, kept or new, and a function that keeps it, to be called when there is time. Raises
    what ``Document.open().plan()`` raises."""
    given = texts(overrides)
    with suppress(OSError, ValueError, TypeError, EOFError, SpecError):
        return found(spec.absolute(), given), lambda: None
    from vmspec.document import Document

    document = Document.open(spec, given)
    made = document.plan()
    if made.notes or document.warned:
        return made, lambda: None
    return made, partial(keep, spec.absolute(), given, document.text.encode(), made)


def found(spec: Path, overrides: tuple[str, ...]) -> Plan:
    """The kept plan of a spec as it is now. Raises OSError, ValueError, TypeError, EOFError or SpecError if there is no
    valid one."""
    place = _place(spec, overrides)
    kept_from, versions, tree = _read(place)
    with open(spec, "rb", buffering=0, opener=_regular) as file:
        text = file.read(SPEC_MAX + 1)
    if kept_from != _made_from(spec, overrides, text.removeprefix(BOM)):
        raise ValueError("it was made from something else")
    made = serial.from_tree(tree)
    if versions != [_version(file) for file in made.files]:
        raise ValueError("an image has changed")
    if any(fileuse.conflicts(fileuse.uses(made.names))):
        raise ValueError("a file has two uses now")
    return made


def keep(spec: Path, overrides: tuple[str, ...], text: bytes, made: Plan) -> None:
    """Keep a plan that was made from a spec's text. If it cannot be written, none is kept."""
    with suppress(OSError, ValueError):
        if not stat.S_ISREG(spec.stat().st_mode):
            return  # a pipe can be read only once
        versions = [_version(file) for file in made.files]
        latest = max((found[4] for found, file in zip(versions, made.files, strict=True) if file.version), default=0)
        if time.time_ns() - latest >= cache.SETTLED_NS:
            place = _place(spec, overrides)
            cache.make(place.parent)
            _write(place, (_made_from(spec, overrides, text), versions, serial.tree(made)))


def _made_from(spec: Path, overrides: tuple[str, ...], text: bytes) -> tuple[Any, ...]:
    return os.fspath(spec), overrides, text, _sources()


def _version(file: PlannedFile) -> tuple[int, ...]:
    """The identity of a file, without its number of links, which does not change the content."""
    return tuple(version(file.path)[:5])


@lru_cache
def _sources() -> int:
    """The identity of this package's sources, for people who change them under the same version. What a process has
    imported does not change any more, and to look costs a run 2 ms."""
    told = 0
    directories = [os.path.dirname(__file__)]  # noqa: PTH120
    while directories:
        with os.scandir(directories.pop()) as entries:
            for entry in entries:
                if entry.name.endswith(".py"):
                    status = entry.stat()
                    told ^= hash((status.st_ino, status.st_size, status.st_mtime_ns))
                elif entry.name != "__pycache__" and entry.is_dir():
                    directories.append(entry.path)
    return told


def _place(spec: Path, overrides: tuple[str, ...]) -> Path:
    home = cache.home()
    if home is None:
        raise FileNotFoundError("there is no cache")
    name = "\0".join((os.fspath(spec), *overrides)).encode("utf-8", "surrogatepass")
    return home / "plans" / f"{crc32(name) % PLACES:03x}"


def _read(place: Path) -> Any:
    """The contents of a place, which are used only if the file is the user's own, and whole."""
    for directory in (place.parent.parent, place.parent):
        cache.check(os.lstat(directory), stat.S_IFDIR, directory)
    with open(place, "rb", buffering=0, opener=_regular) as file:
        cache.check(os.fstat(file.fileno()), stat.S_IFREG, place)
        line, _, data = file.read(LARGEST).partition(b"\n")
    if line != HEADER + b"%08x" % crc32(data):
        raise ValueError(f"{place} is of another release, or not whole")
    return marshal.loads(data)


def _write(place: Path, value: Any) -> None:
    data = marshal.dumps(value)
    new = place.with_suffix(".new")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:  # of another run, or one that was killed
        if time.time() - new.lstat().st_mtime > ABANDONED:
            new.unlink()
        return
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(HEADER + b"%08x\n" % crc32(data) + data)
        new.replace(place)
    except BaseException:
        with suppress(OSError):
            new.unlink()
        raise


def _regular(path: str, flags: int) -> int:
    """Open a regular file. Do not wait for anything else: a pipe's bytes are for the reader of the spec."""
    if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116
        raise ValueError(f"{path} is not a regular file")
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
