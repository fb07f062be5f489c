"""The sources of Python devices, wherever they were found, in one folder of the user's cache."""

import hashlib
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from vmspec.bundle.manifest import fault
from vmspec.bundle.store import Content, held, place
from vmspec.host.pathtext import from_text
from vmspec.lock.hashing import sha256
from vmspec.lock.images import opened
from vmspec.rerun.search import Wanted
from vmspec.schema.keypath import join
from vmspec.schema.problems import Problem, SpecError


def kept(found: Sequence[tuple[Wanted, Path]], trace: Path, stack: ExitStack) -> Path | None:
    """The folder of files that were found, by their names below the spec's folder; None if there are none. It stays
    there until ``stack`` closes. Raises SpecError."""
    if not found:
        return None
    paths: dict[str, Path] = {}
    files: dict[str, Content] = {}
    for wanted, path in found:
        name = wanted.name.partition("/")[2]
        content = Content(path.stat().st_size, wanted.sha256)
        if (why := fault(name)) is not None or files.setdefault(name, content) != content:
            raise SpecError((_wrong(wanted, why or "is another file than that of another device", trace),))
        paths[name] = path
    digest = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()

    def fill(new: Path) -> None:
        for name, path in paths.items():
            target = new / from_text(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            with opened(target) as (descriptor, size):
                if sha256(descriptor, size, lambda done: None) != files[name].sha256:
                    raise OSError(0, f"{path} has changed")

    try:
        folder = place("sources") / digest
        held(folder, files, fill, stack)
    except OSError as error:
        message = f"the sources of its devices cannot be copied into the cache: {error.strerror or error}"
        raise SpecError((Problem("", message, file=trace),)) from error
    return folder


def _wrong(wanted: Wanted, message: str, trace: Path) -> Problem:
    return Problem(join(("images", wanted.name)), message, file=trace)
