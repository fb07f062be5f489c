"""Running a bundle: its files are unpacked into the user's cache, by the hash of the bundle's list of files.

``bundles/<sha256>`` is a bundle's folder. The modification time of each file there is derived from its hash and set
last, so that any later write shows, as for unpacked kernels (:mod:`vmspec.image.unpack`). The run reads the files there
and writes none of them. All other relative paths begin in the folder that the caller runs in.
"""

import copy
import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from attrs import evolve

from vmspec.bundle.archive import Bundle, bundle
from vmspec.bundle.manifest import Manifest
from vmspec.bundle.unpacking import Contents, unpacked
from vmspec.document import Document
from vmspec.host import cache
from vmspec.host.pathtext import from_text, to_text
from vmspec.host.progress import LONG
from vmspec.lock.model import Lock
from vmspec.lock.table import spec_digest
from vmspec.lock.text import LockText
from vmspec.plan.plan import Plan
from vmspec.schema import toml
from vmspec.schema.keypath import KeyPath
from vmspec.schema.problems import Problem, SpecError
from vmspec.show.dump import toml as written

# What becomes of a disk that the guest writes to, so that each run finds the bundle's.
PRIVATE = {"mode": "overlay", "direct": False}


class Prepared(NamedTuple):
    """A plan that reads unpacked files, and the lock that its run must agree with."""

    plan: Plan
    lock: LockText


def prepare(path: Path, overrides: Sequence[str] | str, notice: Callable[[str], None]) -> Prepared:
    """The plan of a bundle, whose files are unpacked if they are not yet. Raises SpecError."""
    with bundle(path) as opened:
        folder = _unpacked(opened, notice)
        found = Contents(folder, opened)
    table: dict[str, Any] = toml.loads(found.text)
    for key, name in found.inside.files.items():
        if key[-1] != "class":
            _table(table, key)[key[-1]] = to_text(folder / from_text(name))
    for key in found.inside.written:
        _table(table, key).update(PRIVATE)
        notice(f"the guest's writes to {found.inside.files[key]} are discarded; to keep them, use vmspec unbundle")
    plan = Document(written(table), Path.cwd(), overrides, path, folder).plan()
    for named in plan.names:
        if named.writes and named.path.is_relative_to(folder):
            message = "is a file of the bundle, which no run writes to: use vmspec unbundle"
            raise SpecError((Problem(named.where, message, file=path),))
    found.lock.lock = _private(found.lock.lock, found.inside.written)
    return Prepared(plan, found.lock)


def _table(table: Any, key: KeyPath) -> Any:
    """The table of a spec that has a key."""
    for step in key[:-1]:
        table = table[step]
    return table


def _private(lock: Lock, disks: Sequence[KeyPath]) -> Lock:
    """The lock of the run, which writes to none of the disks."""
    spec = copy.deepcopy(lock.spec)
    match spec:
        case {"device": [*devices]}:
            for disk in disks:
                for device in devices[int(disk[1]) : int(disk[1]) + 1]:
                    if isinstance(device, dict):
                        device.update(PRIVATE)
    images = {name: evolve(image, written=False) for name, image in lock.images.items()}
    return evolve(lock, spec=spec, spec_sha256=spec_digest(spec), images=images)


def _unpacked(opened: Bundle, notice: Callable[[str], None]) -> Path:
    """The folder of a bundle in the cache."""
    home = _home(opened)
    folder = home / opened.digest
    if _intact(folder, opened.manifest):
        return folder
    if opened.size >= LONG:
        notice(f"unpacks {opened.size / (1 << 30):.1f} GiB into {folder}")
    try:
        with unpacked(opened, home) as new:
            for name, file in opened.manifest.files.items():
                path = new / from_text(name)
                path.chmod(0o600)  # whatever the umask
                os.utime(path, (_seal(file.sha256), _seal(file.sha256)))
            with _alone(home):
                if not _intact(folder, opened.manifest):  # another run may have made it meanwhile
                    _replace(folder, new)
    except OSError as error:
        raise opened.wrong(f"cannot be unpacked into {folder}: {error.strerror}") from error
    return folder


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """No other run changes the bundles in the cache during the block."""
    descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


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


def _home(opened: Bundle) -> Path:
    """The directory of bundles in the cache."""
    error: OSError | None = None
    for home in cache.places("bundles"):
        try:
            cache.make(home)
        except OSError as failed:
            error = failed
        else:
            return home
    raise opened.wrong(f"cannot be unpacked: there is no place for it: {error}")


def _seal(sha256: str) -> int:
    """The modification time of a file, in seconds; long ago, so that no other write sets it."""
    return int(sha256[:7], 16)


def _intact(folder: Path, manifest: Manifest) -> bool:
    try:
        cache.check(folder.lstat(), stat.S_IFDIR, folder)
        for name, file in manifest.files.items():
            status = (folder / from_text(name)).lstat()
            if (status.st_size, status.st_mtime_ns) != (file.size, _seal(file.sha256) * 10**9):
                return False
            cache.check(status, stat.S_IFREG, folder)
    except OSError:
        return False
    return True
