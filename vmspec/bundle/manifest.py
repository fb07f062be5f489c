"""The manifest of a bundle: the first member, which declares all others. Nothing else in a bundle is believed."""

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from attrs import field, frozen

from vmspec import __version__
from vmspec.host.pathtext import from_text, to_text
from vmspec.lock.model import SIZE_MAX
from vmspec.lock.values import Named, Sha256
from vmspec.schema.keypath import KeyPath
from vmspec.schema.problems import Problem, SpecError
from vmspec.schema.tables import Table, write_model
from vmspec.schema.toml_text import TomlText
from vmspec.schema.value import Here, Model, TooManyProblemsError, key
from vmspec.schema.values import Integer, Text
from vmspec.show.dump import toml
from vmspec.spec.fileuse import lock_path

NAME = ".bundle.toml"
FORMAT = 1  # incremented when an older release would misunderstand a bundle
LARGEST = 16 << 20  # bytes
PART_MAX, PATH_MAX = 255, 1024  # bytes of a name of Linux's file systems (linux/limits.h), and of a path in a bundle
HEAD = f"# The files of a bundle, in the order of the archive. Written by vmspec bundle {__version__} of vmrun.\n\n"


@frozen(eq=False, repr=False)
class BundledFile(Model):
    """A file of the bundle. One whose content an earlier file has too is not in the archive again."""

    size: int = field(metadata=key(Integer(0, SIZE_MAX), "its length in bytes"))
    sha256: str = field(metadata=key(Sha256(), "the hash of its content, holes as zeros"))
    stored: int | None = field(
        default=None,
        metadata=key(Integer(0, SIZE_MAX), "of a file with holes: the bytes of its map and its data in the archive"),
    )

    @property
    def length(self) -> int:
        """How many bytes the archive has of it."""
        return self.size if self.stored is None else self.stored


@frozen(eq=False, repr=False)
class Manifest(Model):
    """What is in a bundle. Names are paths below the bundle's folder."""

    format: int = field(metadata=key(Integer(FORMAT, FORMAT), "the format of the bundle"))
    vmrun: str = field(metadata=key(Text(), "the version of vmrun that wrote it"))
    spec: str = field(metadata=key(Text(), "the name of the spec; its lock has .lock after it"))
    reference: str | None = field(default=None, metadata=key(Text(), "the name of the reference trace"))
    files: dict[str, BundledFile] = field(
        factory=dict, metadata=key(Named(BundledFile), "the files by name, in the order of the archive")
    )

    @property
    def lock(self) -> str:
        """The name of the lock."""
        return str(lock_path(Path(self.spec)))

    @property
    def members(self) -> dict[str, BundledFile]:
        """The files that the archive has, in its order: the first of each content."""
        first = {file.sha256: name for name, file in reversed(self.files.items())}
        return {name: file for name, file in self.files.items() if first[file.sha256] == name}

    def faults(self) -> Iterator[tuple[KeyPath, str]]:
        known: dict[str, BundledFile] = {}
        # Next to a folder, in the order of their parts, is a file in it.
        ordered = sorted(self.files, key=lambda name: name.split("/"))
        folders = {name for name, after in pairwise(ordered) if after.startswith(f"{name}/")}
        for name, file in self.files.items():
            if (why := fault(name)) is not None:
                yield ("files", name), why
            elif name in folders:
                yield ("files", name), "is the folder of another file, too"
            first = known.setdefault(file.sha256, file)
            if (first.size, first.stored) != (file.size, file.stored):
                yield ("files", name), "has the hash of another file, and another size"
        for what, named in (("spec", self.spec), ("spec", self.lock), ("reference", self.reference)):
            if named is not None and named not in self.files:
                yield (what,), f"{named} is not among the files"


class ManifestText(TomlText):
    """A manifest as a text, which locates what is wrong in it; ``file`` is named in problems."""

    def __init__(self, text: str, file: Path) -> None:
        """Raises SpecError with every problem located."""
        super().__init__(text, file)
        number = self.data.get("format")
        if type(number) is int and number > FORMAT:
            message = f"is {number}, and this release reads up to {FORMAT}: use a newer vmrun"
            raise SpecError((self.locate(Problem("format", message)),))
        here = Here(Path())
        try:
            manifest = Table(Manifest).read(self.data, here)
        except TooManyProblemsError:
            manifest = None
        if manifest is None or here.problems:
            raise SpecError(self._located(here.problems))
        self.manifest: Manifest = manifest


def dumps(manifest: Manifest) -> str:
    """The manifest as TOML."""
    return HEAD + toml(write_model(manifest))


def fault(name: str) -> str | None:
    """Why a bundle's file cannot have a name; None: it can."""
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return "is not a path below the bundle's folder"
    if name == NAME:
        return "is the name of the bundle's own list of files"
    try:
        path = from_text(name)
        raw = os.fsencode(path)
    except ValueError:  # a NUL, or what this locale cannot write
        return "is not a name that a file can have"
    if to_text(path) != name:
        return "is not how the name of that file is written"
    if len(raw) > PATH_MAX or any(len(part) > PART_MAX for part in raw.split(b"/")):
        return f"is too long: {PART_MAX} bytes is the most for a name, {PATH_MAX} for a path"
    return None
