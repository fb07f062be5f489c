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
    it was, in ns from the start of the run that had it."""

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
    wanted = {vcpu: [row] for vcpu, row in first.items()}
    ours, theirs = rows_at(a, wanted), rows_at(b, wanted)
    found = []
    for place in first.items():
        rows = ours.get(place), theirs.get(place)
        found.append(Parting(*place, min(row["t_exit"] for row in rows if row is not None), *rows))
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
