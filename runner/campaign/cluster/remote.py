"""What a worker of a cluster does for campaigns: functions that the campaign calls there by their names.

A run is in a process of its own, one for each thread of the worker, which outlives its runs. A run that kills it costs
that run alone, and Dask's worker answers meanwhile.
"""

import os
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from runner.campaign.cluster.images import Arrival, find
from runner.campaign.cluster.parcel import Parcel
from runner.campaign.measure import Keep, Measured
from runner.campaign.runs import cpuid_of
from runner.workers.pool import Process, WorkerLostError
from vmspec import __version__
from vmspec.bundle.store import Content
from vmspec.plan.settings import PlannedCPU
from vmspec.trace.files import all_of

FOLDER = "vmrun"  # below the worker's own folder, which Dask removes


class Lacking(NamedTuple):
    """The worker has not got these files of the parcel, named by their hashes."""

    hashes: tuple[str, ...]


class Unfit(NamedTuple):
    """The worker must not make the run."""

    why: str


class Answer(NamedTuple):
    """What a worker answers, with its address. ``files`` are those of the trace that is kept, with their sizes."""

    worker: str
    value: Measured | Lacking | Unfit
    files: tuple[tuple[Path, int], ...] = ()


_own = threading.local()  # process: this thread's process
_arriving: dict[str, Arrival] = {}


def release() -> str:
    """The worker's version of vmrun."""
    return __version__


def facts(cpu: PlannedCPU) -> Any:
    """The facts of the worker's host, as of a lock. Raises HostError or KvmError."""
    from runner.session import hostfacts

    return hostfacts.facts(cpu)


def measure(parcel: Parcel, name: str, record: bool, timeout: int | None, keep: Keep) -> Answer:
    """Make a run of a machine and measure it. Raises WorkerLostError if it has killed its process."""
    from distributed import get_worker

    worker = get_worker()
    if (why := _differs(parcel)) is not None:
        return Answer(worker.address, Unfit(why))
    paths = {entry: find(file) for entry, file in parcel.files}
    if None in paths.values():
        lacking = {file.content.sha256 for entry, file in parcel.files if paths[entry] is None}
        return Answer(worker.address, Lacking(tuple(sorted(lacking))))
    folder = Path(worker.local_directory) / FOLDER
    trace = folder / "traces" / str(threading.get_native_id()) / f"{name}.arrow" if record else None
    task = worker.state.tasks[worker.get_current_task()]
    found = _called((_made, (parcel, tuple(paths.items()), folder, trace, timeout, keep), {}), task)
    result = found.outcome.result
    kept = dict.fromkeys(all_of(result.trace)) if result is not None and result.trace is not None else ()
    return Answer(worker.address, found, tuple((path, path.stat().st_size) for path in kept if path.exists()))


def _called(call: tuple[Any, ...], task: Any) -> Measured:
    """A call in this thread's process; it ends early if the task is cancelled."""
    process: Process | None = getattr(_own, "process", None)
    if process is None:
        process = _own.process = Process()
    try:
        made: Measured = process.call(call, wanted=lambda: task.state == "executing")
    except WorkerLostError:
        _own.process = None
        process.close()
        raise
    return made


def _made(
    parcel: Parcel,
    paths: tuple[tuple[str, Path], ...],
    folder: Path,
    trace: Path | None,
    timeout: int | None,
    keep: Keep,
) -> Measured:
    """The run, in the process of its own."""
    from runner.campaign.cluster.arranged import arranged

    return arranged(parcel, paths, folder / str(os.getpid()), trace, timeout, keep)


def _differs(parcel: Parcel) -> str | None:
    """Why this host must not make a run of the parcel."""
    if parcel.release != __version__:
        return f"has vmrun {__version__}, and the campaign vmrun {parcel.release}"
    if _cpuid(parcel.cpu) != parcel.cpuid:
        return "would show guests another CPUID than the campaign began with: give the spec a cpu.model"
    return None


@lru_cache
def _cpuid(cpu: PlannedCPU) -> str:
    return cpuid_of(facts(cpu))


def lacks(content: Content) -> bool:
    """Whether the worker's store has not got this file yet; another worker of the host may have stored it."""
    from vmspec.bundle.store import intact, place

    return not intact(place("images"), {content.sha256: content})


def receive(content: Content, begin: bool, piece: bytes | int) -> None:
    """A piece of a file, the first one if ``begin``; see :class:`Arrival`. Raises OSError."""
    if begin:
        if (left := _arriving.pop(content.sha256, None)) is not None:
            left.close()  # of a campaign that was killed
        _arriving[content.sha256] = Arrival(content)
    try:
        if _arriving[content.sha256].add(piece):
            del _arriving[content.sha256]
    except OSError:
        _arriving.pop(content.sha256, None)
        raise


def read(path: Path, offset: int, size: int) -> bytes:
    """A part of a trace. Raises OSError."""
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)


def remove(paths: tuple[Path, ...]) -> None:
    """Remove the files of a trace."""
    for path in paths:
        path.unlink(missing_ok=True)
