"""Names of the files of one recording.

``boot.arrow`` is the finished trace. ``boot.arrows`` (the stream) and ``boot.ring`` (the rings) exist during the
recording, and after a run that was killed. Files of other tables than the exits have the table's name in theirs.
"""

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

TRACE = "exits"  # the table that is the trace itself
# The other names of vmspec.trace.tables, which is not imported for them as that takes a while: the tables that may
# stand beside the exits. Each with its former names: readers open the files with these names too.
BESIDE: dict[str, tuple[str, ...]] = {
    "tracepoints": ("kernel",),
    "inputs": (),
    "requests": (),
    "outputs": (),
    "dma": (),
}


class RingLostError(Exception):
    """Somebody truncated a ring file while a run recorded into it; the message says so."""


@lru_cache(256)  # a run asks for its names several times, and a process may run a spec many times
def _file(path: Path, suffix: str) -> Path:
    """The file of a recording with this suffix, beside any other of its files."""
    return Path(_base(path) + suffix)


def _base(path: Path) -> str:
    """The path without the suffix of a recording's file; any other suffix is part of the name."""
    name = str(path)
    for suffix in (".arrows", ".arrow", ".ring"):
        if name.endswith(suffix) and path.name != suffix:
            return name.removesuffix(suffix)
    return name


def trace_path(path: Path) -> Path:
    """The finished trace that belongs to any of a recording's files: boot.arrows -> boot.arrow."""
    return _file(path, ".arrow")


def stream_path(path: Path) -> Path:
    """The stream beside a trace: boot.arrow -> boot.arrows, and any other name with ``.arrows`` added."""
    return _file(path, ".arrows")


def ring_path(path: Path) -> Path:
    """The ring file beside a trace: boot.arrow -> boot.ring, and any other name with ``.ring`` added."""
    return _file(path, ".ring")


def table_path(path: Path, table: str) -> Path:
    """A table of a trace, by its name: boot.arrow -> boot.tracepoints.arrow. The exits are the trace, of any name."""
    return path if table == TRACE else _file(path, f".{table}.arrow")


def table_stream_path(path: Path, table: str) -> Path:
    """The stream of a table of a trace: boot.arrow -> boot.tracepoints.arrows."""
    return stream_path(path) if table == TRACE else _file(path, f".{table}.arrows")


def table_files(path: Path, table: str) -> Iterator[Path]:
    """The possible files of a table beside the exits: the finished file, the stream, and both by the table's former
    names."""
    for name in (table, *BESIDE[table]):
        yield table_path(path, name)
        yield table_stream_path(path, name)


def beside(path: Path) -> Iterator[Path]:
    """The possible files of all tables beside the exits."""
    for table in BESIDE:
        yield from table_files(path, table)


def table_name(word: str) -> str:
    """The name of a table by its name or a former one."""
    return next((table for table, former in BESIDE.items() if word in former), word)


def crash_path(path: Path) -> Path:
    """The crash report beside a trace: boot.arrow -> boot.crash.txt."""
    return _file(path, ".crash.txt")


def killed_path(path: Path) -> Path:
    """The trace name for the files of a killed run that are set aside: boot.arrow -> boot.killed.arrow."""
    return _file(path, ".killed.arrow")


def all_of(path: Path) -> Iterator[Path]:
    """Every file that recording into a trace may write, the trace first."""
    yield path
    for name in (trace_path, stream_path, ring_path, crash_path):
        yield name(path)
    for table in BESIDE:
        yield table_path(path, table)
        yield table_stream_path(path, table)
    yield from unfinished(killed_path(path))


def unfinished(path: Path) -> Iterator[Path]:
    """The files that a killed run leaves: the streams and the rings."""
    for table in BESIDE:
        yield table_stream_path(path, table)
    yield stream_path(path)
    yield ring_path(path)


def exists(path: Path) -> bool:
    """Whether there is such a file; false if the name is longer than names may be."""
    return os.path.exists(path)  # noqa: PTH110 - Path.exists() raises where a name is too long
