"""Which specs a suite has, and which runs each of them is."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from runner.workers.schedule import Demand, demand
from vmspec.document import Document
from vmspec.schema.problems import SpecError
from vmspec.spec.models import Spec
from vmspec.spec.testing import HARDWARE

SUFFIX = ".toml"
TABLES = {"vm", "boot"}  # a TOML file with one of them is a spec
FLAGS = {"vmx", "svm"}  # of /proc/cpuinfo (Intel SDM volume 3, 24.6; AMD APM volume 2, 15.4)


class CollectError(Exception):
    """A path of the command line leads to no spec."""


class Case(NamedTuple):
    """A spec, or one combination of its matrix, as a test. ``name`` is its path without ``.toml`` and the combination:
    ``linux[vm.vcpus=2]``. It passes if vmrun's exit status is ``status``. ``skip`` is the reason not to run it,
    ``broken`` what is wrong with it."""

    name: str
    spec: Path
    overrides: tuple[str, ...] = ()
    demand: Demand = Demand()
    status: int = 0
    skip: str = ""
    broken: str = ""


class Collected(NamedTuple):
    """The cases, in the order of their names' paths, and what was passed over, a sentence each."""

    cases: tuple[Case, ...]
    notes: tuple[str, ...]


def collect(paths: Sequence[Path], overrides: Sequence[str] = ()) -> Collected:
    """The cases of specs, and of all specs below folders. Raises CollectError for a path that is neither."""
    found: dict[Path, Path] = {}  # by what they lead to: a spec is run once
    notes: list[str] = []
    for path in paths:
        if path.is_dir():
            for file in below(path):
                found.setdefault(file.resolve(), file)
        elif path.exists():
            found.setdefault(path.resolve(), path)
        else:
            raise CollectError(f"{path}: there is no such file or folder")
    named = set(paths)
    cases: list[Case] = []
    names = Counter(_stem(file) for file in found.values())
    for file in found.values():
        name = _stem(file) if names[_stem(file)] == 1 else _shown(file)
        try:
            document = Document.open(file, overrides)
        except SpecError as error:
            cases.append(Case(name, file, broken=str(error)))
            continue
        if file not in named and not TABLES & document.data.keys():
            notes.append(f"{_shown(file)}: not a spec, because it has neither [vm] nor [boot]")
        else:
            cases += of(document, name)
    return Collected(tuple(cases), tuple(notes))


def below(folder: Path) -> Iterator[Path]:
    """The TOML files below a folder, sorted; not those in hidden folders, or behind links to folders. Raises
    CollectError."""
    for directory, folders, files in os.walk(folder, onerror=_unlisted):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.endswith(SUFFIX) and (path := Path(directory, name)).is_file():
                yield path


def _unlisted(error: OSError) -> None:
    raise CollectError(f"{error.filename}: cannot be listed: {error.strerror}")


def of(document: Document, name: str) -> Iterator[Case]:
    """The cases of a spec: one, or one for each combination of its matrix."""
    file = document.file
    assert file is not None
    try:
        combinations = document.combinations()
    except SpecError as error:
        yield Case(name, file, broken=str(error))
        return
    for label, combination in combinations.items():
        full = f"{name}[{label}]" if label else name
        try:
            spec = combination.spec()
        except SpecError as error:
            yield Case(full, file, combination.overrides, broken=str(error))
            continue
        skip = spec.test.skip or ", ".join(lacking(spec))
        yield Case(full, file, combination.overrides, demand(spec), spec.test.status, skip)


def lacking(spec: Spec) -> Iterator[str]:
    """What a spec needs and the host lacks."""
    for need in spec.test.needs:
        if need == HARDWARE:
            if not virtualizes():
                yield "this processor does not virtualize (no vmx or svm in /proc/cpuinfo)"
        elif not os.path.exists(need):  # noqa: PTH110 - a name that is too long does not exist
            yield f"{_shown(Path(need))} is missing"


def virtualizes() -> bool:
    """Whether the processor has instructions for virtual machines. A KVM without them emulates, and fails on some of
    Linux."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return bool(FLAGS & set(flags.split()))


def _stem(path: Path) -> str:
    return _shown(path).removesuffix(SUFFIX)


def _shown(path: Path) -> str:
    """A path relative to the current directory if it is below it, else absolute."""
    path = path.absolute()
    return os.fspath(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
