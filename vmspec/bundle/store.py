"""Folders in the user's cache, by a hash of their contents.

The modification time of each file there is derived from its hash and set last, so that any later write shows, as for
unpacked kernels (:mod:`vmspec.image.unpack`). An incomplete folder is made again. The modification time of a folder is
that of its last use. The run that uses a folder has it locked.
"""

import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from vmspec.bundle.limit import trim
from vmspec.host import cache
from vmspec.host.pathtext import from_text
from vmspec.host.scratch import lock, scratch

PREFIX = ".vmz-"  # of a folder that is being filled
SHARED = "contents"  # the part of the cache with links to large files, by their hashes
SHARED_MIN = 1 << 20  # bytes of a large file


class Content(NamedTuple):
    """The content of a file: its size in bytes, and its hash."""

    size: int
    sha256: str


def intact(folder: Path, files: Mapping[str, Content]) -> bool:
    """Whether a folder has these files, as :func:`held` left them."""
    try:
        cache.check(folder.lstat(), stat.S_IFDIR, folder)
        for name, content in files.items():
            status = (folder / from_text(name)).lstat()
            if (status.st_size, status.st_mtime_ns) != (content.size, _seal(content.sha256) * 10**9):
                return False
            cache.check(status, stat.S_IFREG, folder)
    except OSError:
        return False
    return True


def place(part: str) -> Path:
    """The directory of a part of the cache. Raises OSError if there is none."""
    error: OSError | None = None
    for home in cache.places(part):
        try:
            cache.make(home)
        except OSError as failed:
            error = failed
        else:
            return home
    assert error is not None
    raise error


def held(folder: Path, files: Mapping[str, Content], fill: Callable[[Path], None], stack: ExitStack) -> None:
    """Have a folder of the cache with these files; if needed, ``fill`` writes them into a new one. No other process
    removes it until ``stack`` closes. Raises what ``fill`` raises, OSError."""
    while True:
        with ExitStack() as locked:
            if lock(folder, locked, fcntl.LOCK_SH) and intact(folder, files):
                os.utime(folder)
                stack.push(locked.pop_all())
                return
        _stored(folder, files, fill)


def _stored(folder: Path, files: Mapping[str, Content], fill: Callable[[Path], None]) -> None:
    home = folder.parent
    with scratch(home, PREFIX) as new:
        fill(new)
        for name, content in files.items():
            seal(new / from_text(name), content)
        with _alone(home):
            if not intact(folder, files):  # another run may have made it meanwhile
                contents = home.with_name(SHARED)
                _share(contents, new, files)
                _replace(folder, new)
                trim(home, PREFIX)
                _forget(contents)


def seal(path: Path, content: Content) -> None:
    """Mark a file that has this content, so that :func:`intact` finds it and any later write shows. Raises OSError."""
    path.chmod(0o600)  # whatever the umask
    os.utime(path, (_seal(content.sha256), _seal(content.sha256)))


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """No other run changes this part of the cache during the block."""
    descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _share(contents: Path, folder: Path, files: Mapping[str, Content]) -> None:
    """Make large files one with those of other folders that have the same content. ``contents`` has a link to each, by
    its hash."""
    with suppress(OSError):  # a file system without links has several copies
        cache.make(contents)
        for name, content in files.items():
            known, path = contents / content.sha256, folder / from_text(name)
            if content.size < SHARED_MIN:
                continue
            if intact(contents, {content.sha256: content}):
                link = path.with_name(f"{PREFIX}link")
                os.link(known, link)
                link.replace(path)
            else:
                known.unlink(missing_ok=True)
                os.link(path, known)


def _forget(contents: Path) -> None:
    """Remove the contents that no folder has any more."""
    with suppress(OSError):
        for path in contents.iterdir():
            if path.lstat().st_nlink == 1:
                path.unlink()


def _replace(folder: Path, new: Path) -> None:
    """Put a new folder in the place of one that is not whole, if there is one."""
    old = new.with_name(f"{new.name}-old")
    try:
        folder.rename(old)
    except FileNotFoundError:
        pass
    try:
        new.rename(folder)
    finally:
        if old.exists():
            shutil.rmtree(old)


def _seal(sha256: str) -> int:
    """The modification time of a file, in seconds; long ago, so that no other write sets it."""
    return int(sha256[:7], 16)
