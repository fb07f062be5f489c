"""A bundle's files, seen from its spec: which keys name them, and where else its run may write."""

import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from vmspec.devices.storage import Flash, VirtioBlk
from vmspec.document import Document
from vmspec.host.pathtext import to_text
from vmspec.schema.keypath import KeyPath, split
from vmspec.schema.problems import Problem, SpecError, SpecWarning
from vmspec.spec.fileuse import Named
from vmspec.spec.models import Spec

ROOT = Path("/proc/self/bundle")  # no file is there, so what the paths lead to depends on the text alone


class Inside(NamedTuple):
    """The paths in a bundle's spec, by their keys: ``files`` names files of the bundle, ``outputs`` what the run makes,
    relative to the folder that it runs in. ``written`` are the keys of ``files`` that the guest writes to."""

    files: dict[KeyPath, str]
    outputs: dict[KeyPath, str]
    written: tuple[KeyPath, ...]


def inside(text: str, names: Collection[str], file: Path) -> Inside:
    """The paths of the spec ``text`` in a bundle that has files of these names; ``file`` is named in problems. Raises
    SpecError, also for a path that leads out of the bundle."""
    document = Document(text, ROOT, file=file)
    with warnings.catch_warnings(action="ignore", category=SpecWarning):  # its author has seen them
        spec = document.spec()
    found = Inside({}, {}, ())
    problems: list[Problem] = []
    for key, named in keyed(spec):
        name = below(named.path, ROOT)
        if name is None:
            problems.append(Problem(named.where, "leads out of the bundle", to_text(named.path)))
        elif is_output(spec, key, named):
            found.outputs[key] = name
        elif name in names:
            found.files[key] = name
        else:
            problems.append(Problem(named.where, f"the bundle has no file {name}"))
    if problems:
        raise SpecError(tuple(map(document.locate, problems)))
    return found._replace(written=tuple(key for key, named in keyed(spec) if named.writes and key in found.files))


def keyed(spec: Spec) -> Iterator[tuple[KeyPath, Named]]:
    """The files that a run of the spec uses, by the keys that name them."""
    for named in spec.names():
        if named.key:
            yield split(named.where), named


def is_output(spec: Spec, key: KeyPath, named: Named) -> bool:
    """Whether the run makes the file of a key. A disk that the guest writes to must be there before."""
    return named.writes and not (key[0] == "device" and isinstance(spec.devices[int(key[1])], VirtioBlk | Flash))


def below(path: Path, folder: Path) -> str | None:
    """The name of a path relative to a folder, None if it is not below it."""
    if not path.is_relative_to(folder) or ".." in path.parts or path == folder:
        return None
    return to_text(path.relative_to(folder))
