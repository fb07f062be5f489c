"""Opening a bundle into a folder, which appears whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path

from vmspec.bundle.archive import Bundle
from vmspec.bundle.inside import Inside, inside
from vmspec.bundle.store import PREFIX
from vmspec.host.pathtext import from_text
from vmspec.host.scratch import scratch
from vmspec.lock.text import LARGEST as LOCK_MAX
from vmspec.lock.text import LockText
from vmspec.schema.problems import Problem, SpecError
from vmspec.schema.toml_text import contents

SPEC_MAX = 1 << 20  # bytes


class Contents:
    """What an unpacked bundle has: its spec, its lock, and the paths in the spec. Raises SpecError if they are wrong.
    Problems name the files as below ``bundle``."""

    def __init__(self, folder: Path, opened: Bundle) -> None:
        manifest, path = opened.manifest, opened.path
        self.text = _text(folder, path, manifest.spec, SPEC_MAX)
        self.lock = LockText(_text(folder, path, manifest.lock, LOCK_MAX), path / from_text(manifest.lock))
        self.inside: Inside = inside(self.text, manifest.files, path / from_text(manifest.spec))


def unbundle(opened: Bundle, output: Path, advance: Callable[[int], None]) -> None:
    """Open a bundle into the folder ``output``, which is new or empty. Raises SpecError, OSError."""
    if output.is_symlink() or (output.exists() and not (output.is_dir() and not any(output.iterdir()))):
        raise SpecError((Problem("", "exists and is not an empty folder: give a new one", file=output),))
    with scratch(output.parent, PREFIX) as folder:
        opened.unpack(folder, advance)
        Contents(folder, opened)
        os.umask(mask := os.umask(0o077))
        folder.chmod(0o777 & ~mask)
        folder.rename(output)


def _text(folder: Path, bundle: Path, name: str, largest: int) -> str:
    """A text of the bundle."""
    try:
        return contents(folder / from_text(name), largest, "its kind")
    except SpecError as error:
        raise SpecError(tuple(problem._replace(file=bundle / from_text(name)) for problem in error.problems)) from None
