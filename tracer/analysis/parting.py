"""The first exit at which runs diverge: what distinguishes a failed run from those that passed."""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from tracer.analysis.alignment import align
from tracer.analysis.difference import tells_rip
from tracer.analysis.hunks import rows_at
from tracer.read.reader import Trace
from vmspec.trace.record import COMPARED, NO_DEVICE


@frozen
class Parting:
    """Up to here two traces of a spec are the same. ``row`` numbers the exits of vCPU ``vcpu`` from 0, as ``vmtrace
    diff`` does. ``a`` and ``b`` are the columns of that exit in each trace, None if the trace has ended. ``t`` is when
    it was in the first trace, in ns from the start of that run: 1 ns after the last exit of the vCPU if the trace has
    ended. Runs that were compared with one and the same trace are ordered by it."""

    vcpu: int
    row: int
    t: int
    a: Mapping[str, Any] | None
    b: Mapping[str, Any] | None

    @property
    def where(self) -> str:
        """The place, in words."""
        return f"exit {self.row:,} of vCPU {self.vcpu}"


def parting(a: Trace, b: Trace) -> Parting | None:
    """Where two runs part; of several vCPUs the one that does first. None if every exit is the same, whenever it
    was."""
    told = all(tells_rip(trace) for trace in (a, b))
    columns = [name for name in COMPARED if told or name != "rip"]
    first = {vcpu: found.blocks[0].row_a for vcpu, found in align(a, b, columns, resync=0).items() if found.blocks}
    ours = rows_at(a, {vcpu: range(max(row - 1, 0), row + 1) for vcpu, row in first.items()})
    theirs = rows_at(b, {vcpu: [row] for vcpu, row in first.items()})
    found = []
    for vcpu, row in first.items():
        here, before = ours.get((vcpu, row)), ours.get((vcpu, row - 1))
        # Never the time in b: how fast b was must not decide which of several runs is the nearest.
        t = here["t_exit"] if here is not None else before["t_exit"] + 1 if before is not None else 0
        found.append(Parting(vcpu, row, t, here, theirs.get((vcpu, row))))
    return min(found, key=lambda parting: parting.t, default=None)


def nearest(run: Trace, others: Sequence[Trace]) -> tuple[Trace, Parting | None]:
    """Of other runs, at least one, that which is like ``run`` for longest, and where both part: the exit that no other
    run shares."""
    partings = [(other, parting(run, other)) for other in others]
    same = next((found for found in partings if found[1] is None), None)
    return same or max(partings, key=lambda found: found[1].t if found[1] is not None else 0)


def described(row: Mapping[str, Any] | None) -> str:
    """An exit of a :class:`Parting` in a few words; None is the end of a run."""
    if row is None:
        return "has ended before"
    words = [row["reason"]]
    if row["direction"] != "none":
        words += [row["direction"], f"{row['addr']:#x}", f"data {row['data']:#x}"]
    if row["device"] != NO_DEVICE:
        words.append(f"({row['place'] or row['device']})")
    return " ".join(words)
