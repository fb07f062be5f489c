"""Names of the files of one recording.

``boot.arrow`` is the finished trace; ``boot.arrows`` (the stream) and ``boot.ring`` (the rings) exist while it is
recorded, and after a run that was killed.
"""

import os
from collections.abc import Iterator
from pathlib import Path


class RingLostError(Exception):
    """Somebody has cut a ring file short while a run recorded into it; the message says so."""


def _base(path: Path) -> str:
    """The path without the suffix of any of a recording's files; another suffix is part of the name."""
    name = str(path)
    for suffix in (".arrows", ".arrow", ".ring"):
        if name.endswith(suffix) and path.name != suffix:
            return name.removesuffix(suffix)
    return name


def trace_path(path: Path) -> Path:
    """The finished trace that belongs to any of a recording's files: boot.arrows -> boot.arrow."""
    return Path(_base(path) + ".arrow")


def stream_path(path: Path) -> Path:
    """The stream beside a trace: boot.arrow -> boot.arrows, and any other name with ``.arrows`` added."""
    return Path(_base(path) + ".arrows")


def ring_path(path: Path) -> Path:
    """The ring file beside a trace: boot.arrow -> boot.ring, and any other name with ``.ring`` added."""
    return Path(_base(path) + ".ring")


def tracepoints_path(path: Path) -> Path:
    """The tracepoints beside a trace: boot.arrow -> boot.tracepoints.arrow."""
    return Path(_base(path) + ".tracepoints.arrow")


def tracepoints_stream_path(path: Path) -> Path:
    """The stream of tracepoints: boot.arrow -> boot.tracepoints.arrows."""
    return Path(_base(path) + ".tracepoints.arrows")


def tracepoint_files(path: Path) -> tuple[Path, ...]:
    """Where the tracepoints of a trace may be: the finished file, the stream, and both by their former
    names (boot.kernel.arrow), which readers still open."""
    former = Path(_base(path) + ".kernel.arrow"), Path(_base(path) + ".kernel.arrows")
    return tracepoints_path(path), tracepoints_stream_path(path), *former


def crash_path(path: Path) -> Path:
    """The crash report beside a trace: boot.arrow -> boot.crash.txt."""
    return Path(_base(path) + ".crash.txt")


def killed_path(path: Path) -> Path:
    """The trace as which a killed run's files are set aside: boot.arrow -> boot.killed.arrow."""
    return Path(_base(path) + ".killed.arrow")


def all_of(path: Path) -> Iterator[Path]:
    """Every file that recording into a trace may write, the trace first."""
    yield path
    for name in (trace_path, stream_path, ring_path, tracepoints_path, tracepoints_stream_path, crash_path):
        yield name(path)
    for name in (stream_path, ring_path, tracepoints_stream_path):
        yield name(killed_path(path))


def exists(path: Path) -> bool:
    """Whether there is such a file; beside a file whose name is as long as names may be there is none."""
    return os.path.exists(path)  # noqa: PTH110 - Path.exists() raises where a name is too long
