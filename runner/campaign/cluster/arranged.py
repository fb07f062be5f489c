"""A run of a campaign on a worker's host. Its files are in several places; what it writes but its trace is in a folder
that nobody keeps, and so are its writes to disks."""

import shutil
import time
from functools import lru_cache
from pathlib import Path

from runner.campaign.cluster.parcel import Parcel
from runner.campaign.measure import Keep, Measured, measure
from runner.session.failures import RAISED, exit_status
from runner.workers.task import PLANS, Outcome, Task
from vmspec.bundle.inside import inside
from vmspec.bundle.private import planned
from vmspec.host.pathtext import from_text
from vmspec.plan.plan import Plan
from vmspec.schema import toml

Paths = tuple[tuple[str, Path], ...]


def arranged(
    parcel: Parcel, paths: Paths, folder: Path, trace: Path | None, timeout: int | None, keep: Keep
) -> Measured:
    """Make the run of a parcel whose files are at these paths, by their names; measure it."""
    if trace is not None:
        trace.parent.mkdir(parents=True, exist_ok=True)
    try:
        plan = _plan(parcel, paths, folder)
    except RAISED as error:
        return Measured(Outcome(exit_status(error), None, str(error), time.time(), 0.0), [])
    return measure(Task(plan, (), trace, timeout), keep)


@lru_cache(PLANS)
def _plan(parcel: Parcel, paths: Paths, folder: Path) -> Plan:
    """The plan of a parcel. Raises SpecError, OSError."""
    base, sources = (folder / parcel.digest / name for name in ("run", "sources"))
    base.mkdir(parents=True, exist_ok=True)
    path = sources / from_text(parcel.name)
    where = dict(paths)
    found = inside(parcel.text, where, path)
    files = {key: where[name] for key, name in found.files.items() if key[-1] != "class"}
    for name in where.keys() - {name for key, name in found.files.items() if key[-1] != "class"}:
        source = sources / from_text(name)  # of Python, found by its place
        source.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(where[name], source)
    for output in found.outputs.values():
        (base / from_text(output)).parent.mkdir(parents=True, exist_ok=True)
    return planned(toml.loads(parcel.text), files, found.written, (), path, sources, base)
