"""Folders in the user's cache, by a hash of their contents.

The modification time of each file there is derived from its hash and set last, so that any later write shows, as for
unpacked kernels (:mod:`vmspec.image.unpack`). An incomplete folder is made again.
"""

import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple

from vmspec.host import cache
from vmspec.host.pathtext import from_text

PREFIX = ".vmz-"  # of a folder that is being filled
SHARED = "contents"  # the part of the cache with links to large files, by their hashes
SHARED_MIN = 1 << 20  # bytes of a large file


class Content(NamedTuple):
    """The content of a file: its size in bytes, and its hash."""

    size: int
    sha256: str


@contextmanager
def fresh(parent: Path) -> Iterator[Path]:
    """A new folder of the user's own; the block moves it away, or it is removed. Raises OSError."""
    folder = Path(mkdtemp(prefix=PREFIX, dir=parent))
    try:
        yield folder
    finally:
        if folder.exists():
            shutil.rmtree(folder)


@contextmanager
def _fresh(home: Path) -> Iterator[Path]:
    """The same in the cache, where the folders of killed runs are removed first: no process has their locks."""
    with ExitStack() as locks, ExitStack() as stack:
        with _alone(home):
            for left in home.glob(f"{PREFIX}*"):
                with ExitStack() as briefly:
                    if _locked(left, briefly):
                        shutil.rmtree(left, ignore_errors=True)
            folder = stack.enter_context(fresh(home))
            _locked(folder, locks)
        yield folder


def _locked(folder: Path, stack: ExitStack) -> bool:
    """Whether this process could lock a folder, until the end of ``stack``."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:  # it has gone, or is none
        return False
    stack.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def intact(folder: Path, files: Mapping[str, Content]) -> bool:
    """Whether a folder has these files, as :func:`stored` left them."""
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


def stored(folder: Path, files: Mapping[str, Content], fill: Callable[[Path], None]) -> None:
    """Make a folder of the cache that has these files, which ``fill`` writes into a new one. Raises what that raises,
    OSError."""
    with _fresh(folder.parent) as new:
        fill(new)
        for name, content in files.items():
            seal(new / from_text(name), content)
        with _alone(folder.parent):
            if not intact(folder, files):  # another run may have made it meanwhile
                _share(folder.parent.with_name(SHARED), new, files)
                _replace(folder, new)


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
    its hash; one that no folder has any more is removed."""
    with suppress(OSError):  # a file system without links has several copies
        cache.make(contents)
        for path in contents.iterdir():
            if path.lstat().st_nlink == 1:
                path.unlink()
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
