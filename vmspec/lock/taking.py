"""Taking the lock of a plan: its images are hashed now."""

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any, NamedTuple

from vmspec.image.source import Version, version
from vmspec.lock import images
from vmspec.lock.hashing import sha256
from vmspec.lock.images import ImageFile, opened
from vmspec.lock.model import Lock
from vmspec.lock.sources import sources
from vmspec.lock.table import Hashed, made
from vmspec.lock.text import of_table
from vmspec.plan.plan import Plan
from vmspec.schema.problems import Problem, SpecError


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


def take(
    plan: Plan,
    host: Mapping[str, Any],
    advance: Callable[[int], None] = lambda size: None,
    digests: MutableMapping[Version, str] | None = None,
) -> Taken:
    """The lock of a plan on a host with these facts, which are a lock's table ``host``. ``advance`` is called with each
    number of bytes that are hashed. ``digests`` are the hashes of files of other plans, and get those of this one, so
    that plans with the same images hash them once. Raises SpecError for a file that cannot be read, or has changed
    since the plan was made."""
    digests = {} if digests is None else digests
    found, versions = {}, {}
    hashed: dict[Path, Hashed] = {}
    problems = []
    made_from = {file.path: file.version for file in plan.files}
    for image in of(plan):
        try:
            if image.path not in hashed:
                with opened(image.path) as (descriptor, size):
                    before = version(descriptor)
                    if (planned := made_from.get(image.path)) is not None and planned[:5] != before[:5]:
                        raise OSError(0, "has changed since the plan was made: run the command again")
                    if (digest := digests.get(before)) is None:
                        digest = digests[before] = sha256(descriptor, size, advance)
                    if version(descriptor)[:5] != before[:5]:
                        raise OSError(0, "was written to while it was hashed: run the command again")
                hashed[image.path] = Hashed(images.shown(image.path, plan), size, digest)
                versions[image.path] = before
            known = hashed[image.path]
            found[image.name] = Hashed(known.path, known.size, known.sha256, image.written)
        except OSError as error:
            why = error.strerror if error.errno == 0 else f"cannot be read: {error.strerror}"
            problems.append(Problem(f"images.{image.name}", f"{image.path} {why}", file=plan.path))
    if problems:
        raise SpecError(tuple(problems))
    return Taken(of_table(made(plan, found, host)), versions)


def of(plan: Plan) -> Iterator[ImageFile]:
    """Every file that a run of the plan reads."""
    yield from images.files(plan)
    for device, module in images.modules(plan):
        for file in sources(module):
            yield images.source(plan, device, file)
