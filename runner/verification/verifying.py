"""Running a spec several times, the first time undisturbed, and comparing the runs."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple

import tracer
from runner.kvm.errors import KvmError
from runner.machine.machine import Machine
from runner.machine.result import UNMET, Result
from runner.session.given import Given
from runner.session.session import Session
from runner.verification.disturbance import disturbed
from runner.verification.state import State
from runner.verification.verdict import Difference, Level, Parted, Verdict, status
from tracer.analysis.parting import parting
from vmspec.host.scratch import scratch
from vmspec.schema.problems import Problem, SpecError
from vmspec.trace.ends import CRASHES, ENDS
from vmspec.trace.record import COMPARED

PREFIX = "vmrun-verify-"  # of the folder with the traces of the runs
GUESTS = (CRASHES | set(ENDS)) - {"timeout", "spun"}  # ends that follow from what the guest does


class Options(NamedTuple):
    """How to verify: the number of runs, at least 2, the disturbance's seed, the folder for traces, and whether to keep
    them all. ``locked`` and ``unlocked`` are as in :func:`runner.run`. ``every``: registers and memory are compared
    after each so many exits too; 0: at the end only."""

    runs: int
    seed: int
    folder: Path
    keep: bool = False
    locked: bool = False
    unlocked: bool = False
    every: int = 0


class Made(NamedTuple):
    """A run that was made, and where its trace is. ``state`` is that at the end, ``states`` are those on the way, each
    by the number of exits before it."""

    number: int
    result: Result
    state: State | None
    states: Mapping[int, State]
    trace: Path

    def discard(self) -> None:
        """Remove its trace."""
        shutil.rmtree(self.trace.parent)


def verify(
    given: Given,
    how: Options,
    notice: Callable[[str], None] = lambda text: None,
    progress: Callable[[int, Result], None] = lambda run, result: None,
) -> Verdict:
    """Run what is given ``how.runs`` times and compare the runs. ``progress`` is called after each with its number,
    from 1, and its result. Raises SpecError, also for a spec without virtual time; OSError if a trace cannot be kept;
    and what :func:`runner.run` raises."""
    plan = given.plan
    if plan.time.kind != "virtual":
        message = 'only runs with virtual time can be verified: give time = "virtual"'
        raise SpecError((Problem("vm.time", message, value=plan.time.kind, file=plan.path),))
    with ExitStack() as stack:
        stack.callback(given.release)
        folder = stack.enter_context(scratch(Path(tempfile.gettempdir()), PREFIX))
        runs = _runs(given._replace(release=lambda: None), how, folder, notice, progress)
        return _kept(_compare(runs, how), folder, how)


def _runs(
    given: Given,
    how: Options,
    folder: Path,
    notice: Callable[[str], None],
    progress: Callable[[int, Result], None],
) -> Iterator[Made]:
    for number in range(1, how.runs + 1):
        path = folder / f"{number}" / f"run-{number}.arrow"
        path.parent.mkdir()
        # Tracepoints are the host's; an exit that is dropped could not be compared.
        trace = given.plan.trace._replace(path=path, tracepoints=False, full="wait", rip=True)
        session = Session(
            given._replace(plan=given.plan._replace(trace=trace)), None, None, notice, how.locked, how.unlocked
        )
        ends: list[State] = []
        states: dict[int, State] = {}

        @contextmanager
        def around(
            machine: Machine, number: int = number, ends: list[State] = ends, states: dict[int, State] = states
        ) -> Iterator[None]:
            if how.every and machine.time is not None:
                machine.time.each(how.every, partial(_keep, machine, states))
            with disturbed(machine, f"{how.seed}/{number}") if number > 1 else nullcontext():
                yield
            try:
                ends.append(State.of(machine))
            except KvmError as error:
                notice(f"run {number}: no registers at the end: {error}")

        session.around = around
        result = session.run()
        progress(number, result)
        yield Made(number, result, ends[0] if ends else None, states, path)


def _keep(machine: Machine, states: dict[int, State], exits: int) -> None:
    states[exits] = State.of(machine)


def _compare(runs: Iterator[Made], how: Options) -> Verdict:
    """The verdict on runs, whose traces are removed that are not needed any more."""
    first = next(runs)
    verdict = Verdict("exact", how.runs, how.seed, first.result.kind, _exits(first), same=1)
    if (reason := _undecided(first)) is not None:
        return verdict._replace(level="undecided", reason=reason, status=first.result.status or UNMET)
    registers: set[str] = set()
    pages: set[int] = set()
    whole = first.state is not None
    ours = tracer.load(first.trace)
    parted = None
    for made in runs:
        if (reason := _undecided(made)) is not None:
            return verdict._replace(level="undecided", reason=reason, status=made.result.status or UNMET)
        if (found := _difference(ours, made, first)) is not None:
            if verdict.difference is None:
                verdict = verdict._replace(difference=found)
                continue  # its trace is kept
        else:
            verdict = verdict._replace(same=verdict.same + 1)
            if first.state is not None and made.state is not None:
                registers.update(first.state.other_registers(made.state))
                pages.update(first.state.other_pages(made.state))
            whole = whole and made.state is not None
        parted = parted or _parted(first, made)
        if not how.keep:
            made.discard()
    level: Level = "exact" if whole and not registers and not pages and parted is None else "repeatable"
    if verdict.difference is not None:
        level = "different"
    verdict = verdict._replace(
        level=level, status=status(level), pages=tuple(sorted(pages)), points=len(first.states), parted=parted
    )
    if first.state is None:
        return verdict
    names = tuple(name for name in first.state.registers if name in registers)
    registers_sha256, memory_sha256 = first.state.hashes
    return verdict._replace(registers=names, registers_sha256=registers_sha256, memory_sha256=memory_sha256)


def _parted(first: Made, made: Made) -> Parted | None:
    """Where registers or memory of a run first differ from those of the first run."""
    for exits, ours in first.states.items():
        if (theirs := made.states.get(exits)) is None:
            return None  # the run has ended before, which is a difference of its exits
        names, pages = ours.other_registers(theirs), ours.other_pages(theirs)
        if names or pages:
            return Parted(made.number, exits, names, pages)
    return None


def _undecided(made: Made) -> str | None:
    """Why a run cannot be compared; None: it ended as its guest did."""
    if made.result.kind in GUESTS and made.result.trace is not None:
        return None
    return f"run {made.number} did not end as its guest does: {made.result.kind} {made.result.detail}".rstrip()


def _difference(ours: tracer.Trace, made: Made, first: Made) -> Difference | None:
    theirs = tracer.load(made.trace)
    place = parting(ours, theirs)
    if place is not None:
        a, b = place.a or {}, place.b or {}
        columns = {name: (_text(a.get(name)), _text(b.get(name))) for name in COMPARED if a.get(name) != b.get(name)}
        other = _inputs(ours, place.row) != _inputs(theirs, place.row)
        return Difference(made.number, place.vcpu, place.row, columns, other)
    if made.result.kind != first.result.kind:
        end = {"end": (first.result.kind, made.result.kind)}
        exits = _exits(first)
        return Difference(made.number, 0, exits, end, _inputs(ours, exits) != _inputs(theirs, exits))
    return None


def _inputs(trace: tracer.Trace, until: int) -> list[tuple[object, ...]]:
    """The host's bytes and commands that came up to an exit, with their places."""
    if "inputs" not in trace.tables:
        return []
    rows = trace.tables["inputs"].table.to_pylist()
    names = "seq", "clock", "device", "value", "data"
    return [
        tuple(row[name] for name in names)
        for row in rows
        if row["kind"] in ("bytes", "command") and row["seq"] <= until
    ]


def _exits(made: Made) -> int:
    return sum(count for reason, count in made.result.counters.items() if reason != "dropped")


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case int():
            return f"{value:#x}"
        case bytes():
            return value.hex() or "empty"
        case _:
            return str(value)


def _kept(verdict: Verdict, folder: Path, how: Options) -> Verdict:
    """Move the traces that stay to their folder."""
    if verdict.difference is None and not how.keep:
        return verdict
    how.folder.mkdir(parents=True, exist_ok=True)
    kept = []
    for run in sorted(folder.iterdir(), key=lambda run: int(run.name)):
        for file in sorted(run.iterdir()):
            target = how.folder / file.name
            target.unlink(missing_ok=True)
            shutil.move(file, target)
            if file.name == f"run-{run.name}.arrow":
                kept.append(target)
    return verdict._replace(traces=tuple(kept))
