"""Plans of the runs of bundles and traces. No run writes to their files. Relative paths begin in the folder that the
caller runs in."""

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from attrs import evolve

from vmspec.document import Document
from vmspec.host.pathtext import to_text
from vmspec.lock.model import Lock
from vmspec.lock.table import spec_digest
from vmspec.lock.text import LockText
from vmspec.plan.plan import Plan
from vmspec.planner import plan
from vmspec.schema.keypath import KeyPath
from vmspec.schema.problems import Problem, SpecError
from vmspec.show.dump import toml

# What becomes of a disk that the guest writes to, so that each run finds the same one.
PRIVATE = {"mode": "overlay", "direct": False}


class Prepared(NamedTuple):
    """A plan, and the lock to compare its run with. ``release`` is called after the run: it no longer needs the files
    in the cache."""

    plan: Plan
    lock: LockText
    release: Callable[[], None] = lambda: None


def prepared(
    table: dict[str, Any],
    files: Mapping[KeyPath, Path],
    written: Sequence[KeyPath],
    lock: LockText,
    overrides: Sequence[str] | str,
    path: Path,
    sources: Path | None,
    disks: bool = True,
) -> Prepared:
    """The plan of a spec's table in which these keys name these files, of which the guest writes to some; ``sources``
    is where its devices' classes are, ``path`` the file that the spec came in. Without ``disks`` the other images of
    disks need not be there. Raises SpecError."""
    made = planned(table, files, written, overrides, path, sources, Path.cwd(), disks)
    lock.lock = _private(lock.lock, written)
    return Prepared(made, lock)


def planned(
    table: dict[str, Any],
    files: Mapping[KeyPath, Path],
    written: Sequence[KeyPath],
    overrides: Sequence[str] | str,
    path: Path,
    sources: Path | None,
    base: Path,
    disks: bool = True,
) -> Plan:
    """The same without a lock, and with other relative paths beginning at ``base``."""
    for key, file in files.items():
        holder(table, key)[key[-1]] = to_text(file)
    for key in written:
        _keep(holder(table, key))
    document = Document(toml(table), base, overrides, path, sources)
    spec = document.spec()
    try:
        made = plan(spec, disks)
    except SpecError as error:
        raise SpecError(tuple(map(document.locate, error.problems))) from None
    _check(made, files.values(), sources)
    return made


def discarded(name: str) -> str:
    """What the user must know of a disk that the guest writes to."""
    return f"the guest's writes to {name} are discarded when the run ends"


def holder(table: Any, key: KeyPath) -> Any:
    """The table of a spec that has a key."""
    for step in key[:-1]:
        table = table[step]
    return table


def _check(plan: Plan, files: Collection[Path], sources: Path | None) -> None:
    """Raise SpecError if the run would write to the files, as an override may have it do."""
    for named in plan.names:
        if named.writes and (named.path in files or (sources is not None and named.path.is_relative_to(sources))):
            message = "is a file that runs only read; to write to it, copy it, or use vmspec unbundle"
            raise SpecError((Problem(named.where, message, file=plan.path),))


def _keep(disk: dict[str, Any]) -> None:
    """Have the table of a disk or of flash memory leave its file as it is."""
    disk.update(PRIVATE if disk.get("kind") != "flash" else {"mode": PRIVATE["mode"]})


def _private(lock: Lock, disks: Sequence[KeyPath]) -> Lock:
    """The lock of the run, which writes to none of the disks."""
    spec = copy.deepcopy(lock.spec)
    match spec:
        case {"device": [*devices]}:
            for disk in disks:
                for device in devices[int(disk[1]) : int(disk[1]) + 1]:
                    if isinstance(device, dict):
                        _keep(device)
    images = {name: evolve(image, written=False) for name, image in lock.images.items()}
    return evolve(lock, spec=spec, spec_sha256=spec_digest(spec), images=images)
