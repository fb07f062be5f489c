"""Taking the lock of a plan: its images are hashed now."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from vmspec import __version__
from vmspec.image.source import Version, version
from vmspec.lock import images
from vmspec.lock.hashing import sha256
from vmspec.lock.images import ImageFile
from vmspec.lock.model import FORMAT, Host, Lock, LockedImage
from vmspec.lock.sources import sources
from vmspec.lock.text import spec_digest
from vmspec.plan.plan import Plan
from vmspec.schema.problems import Problem, SpecError

CODE = "code"


class Taken(NamedTuple):
    """A lock, and the files that were hashed for it, as they were."""

    lock: Lock
    versions: dict[Path, Version]

    def changed(self) -> Iterator[Path]:
        """The files that are not the ones any more that were hashed."""
        for path, was in self.versions.items():
            try:
                same = version(path)[:5] == was[:5]
            except OSError:
                same = False
            if not same:
                yield path


def take(plan: Plan, host: Host, advance: Callable[[int], None] = lambda size: None) -> Taken:
    """The lock of a plan on a host. ``advance`` is called with each number of bytes that are hashed. Raises SpecError
    for a file that cannot be read, or has changed since the plan was made."""
    found, versions = {}, {}
    hashed: dict[Path, LockedImage] = {}
    problems = []
    made_from = {file.path: file.version for file in plan.files}
    for image in of(plan):
        try:
            if image.path not in hashed:
                with _opened(image.path) as (descriptor, size):
                    before = version(descriptor)
                    if (planned := made_from.get(image.path)) is not None and planned[:5] != before[:5]:
                        raise OSError(0, "has changed since the plan was made: do it again")
                    digest = sha256(descriptor, size, advance)
                    if version(descriptor)[:5] != before[:5]:
                        raise OSError(0, "was written to while it was hashed: do it again")
                hashed[image.path] = LockedImage(images.shown(image.path, plan), size, digest)
                versions[image.path] = before
            known = hashed[image.path]
            found[image.name] = LockedImage(known.path, known.size, known.sha256, image.written)
        except OSError as error:
            why = error.strerror if error.errno == 0 else f"cannot be read: {error.strerror}"
            problems.append(Problem(f"images.{image.name}", f"{image.path} {why}", file=plan.path))
    if problems:
        raise SpecError(tuple(problems))
    return Taken(made(plan, found, host), versions)


def made(plan: Plan, found: dict[str, LockedImage], host: Host) -> Lock:
    """The lock of a plan whose files have these hashes; the code in a spec is one more image."""
    if plan.code is not None:
        from hashlib import sha256

        found = {CODE: LockedImage("", len(plan.code), sha256(plan.code).hexdigest()), **found}
    resolved = images.resolved(plan)
    return Lock(
        format=FORMAT,
        vmrun=__version__,
        spec_sha256=spec_digest(resolved),
        spec=resolved,
        images=found,
        host=host,
    )


def of(plan: Plan) -> Iterator[ImageFile]:
    """Every file that a run of the plan reads."""
    yield from images.files(plan)
    for device, module in images.modules(plan):
        for file in sources(module):
            yield images.source(plan, device, file)


def size(path: Path) -> int:
    """The size of a regular file or a block device in bytes; 0 if it cannot be opened."""
    try:
        with _opened(path) as (_, length):
            return length
    except OSError:
        return 0


@contextmanager
def _opened(path: Path) -> Iterator[tuple[int, int]]:
    """The descriptor and the size of a regular file or a block device."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
            raise OSError(0, "is no file any more: do it again")
        yield descriptor, os.lseek(descriptor, 0, os.SEEK_END)
    finally:
        os.close(descriptor)
