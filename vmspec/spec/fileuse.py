"""Files with two uses, one of which writes: told by what the paths lead to, not by how they are spelled."""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from vmspec.trace import files as tracefiles

Identity = tuple[int | str, ...]
STREAM = "stream"


class Named(NamedTuple):
    """A file that a spec names: ``where`` is how a person points at it (``boot.kernel``, ``this spec``). A
    ``recording`` stands for all of its files."""

    where: str
    path: Path
    writes: bool = False
    recording: bool = False


class Use(NamedTuple):
    """One use of a file, as it was found; ``identity`` is None for what may have any number of uses."""

    where: str
    path: Path
    identity: Identity | None
    writes: bool


def uses(names: Iterable[Named]) -> Iterator[Use]:
    """The uses of the files that are named, as their paths lead now."""
    for where, path, writes, recording in names:
        for file in dict.fromkeys(tracefiles.all_of(path)) if recording else (path,):
            yield Use(where, file, identity(file), writes)


def identity(path: Path) -> Identity | None:
    """What a path leads to: device and inode where it exists, else those of the nearest directory that exists, and the
    names from there. None for character devices: a terminal or /dev/null takes any number of uses."""
    names: list[str] = []
    while True:
        try:
            return _identity(path.stat(), names)
        except (OSError, ValueError):
            # A dangling link is what it would be made as. Most of what does not exist needs no such search.
            if not names and (".." in path.parts or os.path.islink(path)):  # noqa: PTH114 - of names too long, too
                path = Path(os.path.realpath(path))
            if not path.name:
                return (str(path), *reversed(names))
            names.append(path.name)
            path = path.parent


def opened(descriptor: int) -> Identity | None:
    """The same of what is open."""
    return _identity(os.fstat(descriptor), [])


def _identity(status: os.stat_result, names: list[str]) -> Identity | None:
    if stat.S_ISCHR(status.st_mode):
        return None
    if stat.S_ISBLK(status.st_mode):  # there may be several nodes of one
        return "block", status.st_rdev
    if stat.S_ISFIFO(status.st_mode) or stat.S_ISSOCK(status.st_mode):
        return STREAM, status.st_dev, status.st_ino
    return (status.st_dev, status.st_ino, *reversed(names))


def conflicts(uses: Iterable[Use]) -> Iterator[tuple[str, str]]:
    """Where a file is used that has an earlier use, and one of both writes it; and what is wrong, in words."""
    seen: dict[Identity, list[Use]] = {}
    for use in uses:
        if use.identity is None:
            continue
        earlier = seen.setdefault(use.identity, [])
        for other in earlier:
            # What two write to a pipe stands in it one after the other; in a file it would overwrite.
            if use.writes != other.writes or (use.writes and use.identity[0] != STREAM):
                name = other.path.name if use.where == other.where else other.where
                yield use.where, f"{use.path.name} is {name} too, and would be written"
                break
        earlier.append(use)
