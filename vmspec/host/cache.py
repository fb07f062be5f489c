"""The user's cache: what is there may be deleted at any time."""

import os
import stat
from pathlib import Path

SETTLED_NS = 2_000_000_000  # a file changed more recently than this may change again within one clock tick


def home() -> Path | None:
    """The cache's directory, which need not exist; None where the user has none."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # noqa: PTH117 - the XDG Base Directory Specification has relative paths ignored
        base = os.path.expanduser("~/.cache")  # noqa: PTH111 - which, unlike Path's, needs no home
    return Path(base) / "vmrun" if os.path.isabs(base) else None  # noqa: PTH117


def make(directory: Path) -> None:
    """Make a directory of the cache, and the one above. OSError: it is not the user's own, or others can write it."""
    for place in (directory.parent, directory):  # one after the other: parents are made by the umask, not by mode
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        check(place.lstat(), stat.S_IFDIR, place)


def check(status: os.stat_result, kind: int, place: Path) -> None:
    """Raises PermissionError for what is of another kind, not the user's own, or open to the writing of others."""
    if stat.S_IFMT(status.st_mode) != kind or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise PermissionError(f"{place} can be written by others")
