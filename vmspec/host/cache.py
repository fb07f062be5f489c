"""The user's cache. Its contents may be deleted at any time."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

SETTLED_NS = 2_000_000_000  # ns; a file that was changed more recently may change again within one clock tick


def home() -> Path | None:
    """The cache's directory, which may not exist; None if the user has none."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # noqa: PTH117 - the XDG Base Directory Specification says to ignore relative paths
        base = os.path.expanduser("~/.cache")  # noqa: PTH111 - unlike Path's, it needs no home
    return Path(base) / "vmrun" if os.path.isabs(base) else None  # noqa: PTH117


def places(name: str) -> Iterator[Path]:
    """The possible directories of one part of the cache, in order of preference; :func:`make` makes them."""
    if (directory := home()) is not None:
        yield directory / name
    import tempfile  # only if the cache is unusable

    yield Path(tempfile.gettempdir()) / f"vmrun-{os.getuid()}" / name


def make(directory: Path) -> None:
    """Make a directory of the cache, and its parent. OSError: it belongs to another user, or others can write to it."""
    for place in (directory.parent, directory):  # mkdir sets the mode of parents by the umask
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        check(place.lstat(), stat.S_IFDIR, place)


def check(status: os.stat_result, kind: int, place: Path) -> None:
    """Raise PermissionError for a file of another kind or of another user, or one that others can write to."""
    if stat.S_IFMT(status.st_mode) != kind or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise PermissionError(f"{place} can be written by others")
