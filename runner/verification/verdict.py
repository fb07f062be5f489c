"""What the runs of a spec have in common."""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from runner.machine.result import OK, UNMET

# exact: registers and memory at the end are the same too; repeatable: the exits are; undecided: a run ended by the
# host.
Level = Literal["exact", "repeatable", "different", "undecided"]


class Difference(NamedTuple):
    """The first exit at which a run is not as the first run. ``row`` numbers the exits of the vCPU from 0, as ``vmtrace
    diff`` does. ``columns`` are those of the trace that differ, with the values of both runs as text, "" for a run that
    has ended before. ``input``: up to there, the runs had other input from the host, or at other exits."""

    run: int
    vcpu: int
    row: int
    columns: Mapping[str, tuple[str, str]]
    input: bool = False


class Parted(NamedTuple):
    """The first point on the way at which a run has other registers, or pages of memory with other contents, than the
    first run; ``exits`` is how many were made before it."""

    run: int
    exits: int
    registers: tuple[str, ...]
    pages: tuple[int, ...]


class Verdict(NamedTuple):
    """The result of a verification. ``same`` of ``runs`` have the exits of the first, ``exits`` in number, and its end,
    ``kind``. ``registers`` and ``pages`` name what differs of the first run's state at the end in any other run with
    the same exits: registers by their names, pages of memory by their guest-physical addresses. ``difference`` is where
    the first run that differs does. ``traces`` are those that are kept. ``reason`` says why it is undecided, ``status``
    is the exit status of ``vmrun``. Registers and memory were compared at so many ``points`` on the way; ``parted`` is
    where they differ first."""

    level: Level
    runs: int
    seed: int
    kind: str
    exits: int
    same: int
    registers: tuple[str, ...] = ()
    pages: tuple[int, ...] = ()
    registers_sha256: str = ""
    memory_sha256: str = ""
    difference: Difference | None = None
    traces: tuple[Path, ...] = ()
    reason: str = ""
    status: int = OK
    points: int = 0
    parted: Parted | None = None

    def lines(self) -> Iterator[str]:
        """The verdict in a few lines."""
        yield f"{self.level}: {self.same} of {self.runs} runs have the same {self.exits:,} exits ({self.kind})"
        if self.reason:
            yield self.reason
        if self.difference is not None:
            yield from self._difference(self.difference)
        elif self.level in ("exact", "repeatable"):
            yield f"registers at the end: {_differ(self.registers, 'register')}"
            yield f"memory at the end: {_differ(tuple(map(hex, self.pages)), 'page')}"
            if self.parted is None and self.points:
                yield f"registers and memory on the way: the same at {self.points:,} points"
        if self.parted is not None:
            run, exits, registers, pages = self.parted
            yield f"registers after {exits:,} exits, in run {run}: {_differ(registers, 'register')}"
            yield f"memory after {exits:,} exits, in run {run}: {_differ(tuple(map(hex, pages)), 'page')}"
        yield f"the disturbance's seed: {self.seed}"

    def _difference(self, found: Difference) -> Iterator[str]:
        yield f"run {found.run} differs from run 1 at exit {found.row:,} of vCPU {found.vcpu}:"
        for name, (ours, theirs) in found.columns.items():
            yield f"  {name}: {ours or 'none, it had ended'}, in run {found.run} {theirs or 'none, it had ended'}"
        if found.input:
            yield "up to there, the runs had other input from the host, or had it at other exits (vmtrace inputs): such"
            yield "runs differ; vmrun --replay repeats one of them"
        if len(self.traces) > 1:
            both = self.traces[0], next(path for path in self.traces if path.stem == f"run-{found.run}")
            yield f"to see it: {shlex.join(['vmtrace', 'diff', *map(str, both)])}"


def status(level: Level) -> int:
    """The exit status of a verdict that was reached."""
    return OK if level in ("exact", "repeatable") else UNMET


def _differ(names: tuple[str, ...], what: str) -> str:
    if not names:
        return "the same"
    shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    return f"1 {what} differs: {shown}" if len(names) == 1 else f"{len(names):,} {what}s differ: {shown}"
