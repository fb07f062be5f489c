"""What a spec's bundle contains: the files with their names in it, and the spec."""

import copy
import os
import stat
from pathlib import Path
from typing import Any, NamedTuple

from vmspec.bundle.inside import below, inside, is_output, keyed
from vmspec.bundle.manifest import NAME, fault
from vmspec.document import Document
from vmspec.host.pathtext import to_text
from vmspec.image.source import kind
from vmspec.lock.sources import sources
from vmspec.plan.plan import Plan
from vmspec.schema.keypath import KeyPath
from vmspec.schema.problems import Problem, SpecError
from vmspec.schema.values import STANDARD
from vmspec.show.dump import toml
from vmspec.spec.fileuse import Named, lock_path
from vmspec.spec.models import Spec
from vmspec.trace import files as tracefiles

ELSEWHERE = "images"  # the folder of images that are not below the spec's
REFERENCE = "reference.arrow"
TRACE = b"ARROW1"  # how an Arrow file begins


class Gathered(NamedTuple):
    """The spec's name and text in the bundle, and the other files: their paths on this host, by their names."""

    spec: str
    text: str
    files: dict[str, Path]
    reference: str | None

    @property
    def lock(self) -> str:
        """The name of the lock."""
        return str(lock_path(Path(self.spec)))


def gather(document: Document, plan: Plan, reference: Path | None = None) -> Gathered:
    """The files of a plan, which was made of the document. Raises SpecError for what no bundle can have."""
    spec = document.spec()
    gathering = _Gathering(spec, plan)
    for key, named in keyed(spec):
        gathering.add(key, named)
    if reference is not None:
        gathering.refer(reference)
    if gathering.problems:
        raise SpecError(tuple(map(document.locate, gathering.problems)))
    return Gathered(gathering.spec, gathering.text(document), gathering.files, None if reference is None else REFERENCE)


class _Gathering:
    def __init__(self, spec: Spec, plan: Plan) -> None:
        assert plan.path is not None
        self.model, self.plan = spec, plan
        self.spec = to_text(plan.path.name)
        self.files: dict[str, Path] = {}
        self.problems: list[Problem] = []
        self._paths: dict[KeyPath, str] = {}  # what the bundle's spec has for each key
        self._names: dict[Path, str] = {}
        for name in (self.spec, str(lock_path(Path(self.spec)))):
            if (why := fault(name)) is not None:
                self.problems.append(Problem("", f"its name {why}", file=plan.path))

    def add(self, key: KeyPath, named: Named) -> None:
        """Add what a key names."""
        folder = self.plan.directory
        if key[-1] == "class":
            self._add_sources(named)
        elif is_output(self.model, key, named):
            name = below(named.path, folder)
            if name is None:
                message = "is not below the spec's folder, and a bundle's run writes only below the folder it runs in"
                self._wrong(named, f"{named.path} {message}: override it with --set {named.where}=FILE")
            else:
                self._paths[key] = name
        elif (why := _unfit(named.path)) is not None:
            self._wrong(named, f"{named.path} {why}")
        else:
            self._paths[key] = self._name(named.path)

    def refer(self, trace: Path) -> None:
        """Add a reference trace, with its other tables."""
        try:
            with trace.open("rb") as file:
                is_trace = file.read(len(TRACE)) == TRACE
        except OSError as error:
            self.problems.append(Problem("", f"cannot be read: {error.strerror}", file=trace))
            return
        if not is_trace:
            self.problems.append(Problem("", "is not a finished trace of vmrun (.arrow)", file=trace))
            return
        self._put(REFERENCE, trace)
        for table in tracefiles.BESIDE:
            if (path := tracefiles.table_path(trace, table)).is_file():
                self._put(str(tracefiles.table_path(Path(REFERENCE), table)), path)

    def text(self, document: Document) -> str:
        """The spec in the bundle: as it was written, if it has the same meaning there; else resolved."""
        if not document.overrides:
            try:
                found = inside(document.text, self.files, Path(self.spec))
            except SpecError:
                pass  # it names files elsewhere
            else:
                classes = {key: name for key, name in found.files.items() if key[-1] == "class"}
                if found.files | found.outputs == self._paths | classes:
                    return document.text
        table: dict[str, Any] = copy.deepcopy(dict(self.plan.spec))
        for key, name in self._paths.items():
            holder: Any = table
            for step in key[:-1]:
                holder = holder[step]
            holder[key[-1]] = _spelled(name)
        head = "".join(f"\n#   --set {text}" for text in document.overrides)
        given = f" and these overrides:{head}" if head else ""
        return f"# {self.spec} with its defaults{given}\n# as vmspec bundle resolved it.\n\n{toml(table)}"

    def _add_sources(self, named: Named) -> None:
        for file in sources(named.path):
            name = below(file, self.plan.directory)
            assert name is not None  # a class is named by identifiers
            if (why := _unfit(file)) is not None:
                self._wrong(named, f"{file} {why}")
            else:
                self._put(name, file)
        if not named.path.is_file():
            self._wrong(named, f"there is no file {named.path}")

    def _name(self, path: Path) -> str:
        """The name of a file; it is added."""
        if path in self._names:
            return self._names[path]
        name = below(path, self.plan.directory)
        if name is None or not self._free(name):
            last = to_text(path.name)
            tried = (f"{ELSEWHERE}/{last}", *(f"{ELSEWHERE}/{n}/{last}" for n in range(2, 1 << 16)))
            name = next(name for name in tried if self._free(name))
        self._put(name, path)
        self._names[path] = name
        return name

    def _free(self, name: str) -> bool:
        return name not in (*self.files, self.spec, str(lock_path(Path(self.spec))), NAME, REFERENCE)

    def _put(self, name: str, path: Path) -> None:
        if (why := fault(name)) is not None:
            self.problems.append(Problem("", f"its name {why}", file=path))
        self.files[name] = path

    def _wrong(self, named: Named, message: str) -> None:
        self.problems.append(Problem(named.where, message))


def _unfit(path: Path) -> str | None:
    """Why a bundle cannot have the file; None: it can."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if stat.S_ISREG(mode) or stat.S_ISBLK(mode):
        return None
    what = "a folder" if stat.S_ISDIR(mode) else kind(mode)
    return f"is {what}: a bundle has only files"


def _spelled(name: str) -> str:
    """The name as a key's value."""
    return f"./{name}" if name.lower() in (*STANDARD, "host") else name
