"""Files with two uses, one of which writes: found by the files that paths lead to, not by their spelling."""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from vmspec.trace import files as tracefiles

Identity = tuple[int | str, ...]
STREAM = "stream"
SPEC, LOCK, SNAPSHOT = "this spec", "this spec's lock", "this snapshot"


class Named(NamedTuple):
    """A file that a spec names: ``where`` is its key as a person writes it (``boot.kernel``), or :data:`SPEC`,
    :data:`LOCK` or :data:`SNAPSHOT`. A ``recording`` stands for all of its files."""

    where: str
    path: Path
    writes: bool = False
    recording: bool = False

    @property
    def key(self) -> bool:
        """Whether a key of the spec names it."""
        return self.where not in (SPEC, LOCK, SNAPSHOT)


def lock_path(spec: Path) -> Path:
    """The file of a spec's lock: ``boot.toml.lock`` beside ``boot.toml``."""
    return spec.with_name(f"{spec.name}.lock")


class Use(NamedTuple):
    """One use of a file; ``identity`` is None for a file that may have any number of uses."""

    where: str
    path: Path
    identity: Identity | None
    writes: bool


def uses(names: Iterable[Named]) -> Iterator[Use]:
    """The uses of the named files, with the current targets of their paths."""
    for where, path, writes, recording in names:
        for file in dict.fromkeys(tracefiles.all_of(path)) if recording else (path,):
            yield Use(where, file, identity(file), writes)


def identity(path: Path) -> Identity | None:
    """The file that a path leads to: device and inode if it exists, else those of the nearest existing directory, and
    the names from there. None for character devices: a terminal or /dev/null may have any number of uses."""
    names: list[str] = []
    place = os.fspath(path)  # a text: a run looks at its twenty names each time
    while True:
        try:
            return _identity(os.stat(place), names)  # noqa: PTH116
        except (OSError, ValueError):
            # A dangling link counts as the file that it would create. Most missing files need no such search.
            if not names and (".." in place.split("/") or os.path.islink(place)):  # noqa: PTH114
                place = os.path.realpath(place)
            place, name = os.path.split(place)
            if not name:
                return (place, *reversed(names))
            names.append(name)
            place = place or "."


def opened(descriptor: int) -> Identity | None:
    """The same for an open file. None for a socket too: what is written to it is not what is read from it."""
    status = os.fstat(descriptor)
    return None if stat.S_ISSOCK(status.st_mode) else _identity(status, [])


def _identity(status: os.stat_result, names: list[str]) -> Identity | None:
    if stat.S_ISCHR(status.st_mode):
        return None
    if stat.S_ISBLK(status.st_mode):  # several device nodes may be one device
        return "block", status.st_rdev
    if stat.S_ISFIFO(status.st_mode) or stat.S_ISSOCK(status.st_mode):
        return STREAM, status.st_dev, status.st_ino
    return (status.st_dev, status.st_ino, *reversed(names))


def conflicts(uses: Iterable[Use]) -> Iterator[tuple[str, str]]:
    """Where a file with an earlier use is used, if one of both writes it; and the problem, in words."""
    seen: dict[Identity, list[Use]] = {}
    for use in uses:
        if use.identity is None:
            continue
        earlier = seen.setdefault(use.identity, [])
        for other in earlier:
            # Two writers to a pipe follow one another; in a file one would overwrite the other.
            if use.writes != other.writes or (use.writes and use.identity[0] != STREAM):
                name = other.path.name if use.where == other.where else other.where
                yield use.where, f"{use.path.name} is {name} too, and would be overwritten"
                break
        earlier.append(use)
