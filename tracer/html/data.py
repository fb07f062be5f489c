"""What the report says: the tables of the analyses, and a pass of its own for the density and the console."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from attrs import frozen

from tracer.analysis import exits
from tracer.analysis.chunks import chunks
from tracer.analysis.density import Binned, Density
from tracer.analysis.phases import phases
from tracer.analysis.summary import summarise
from tracer.console import COLUMNS as CONSOLE_COLUMNS
from tracer.html.consoletext import ConsoleRows, Text


@frozen
class Findings:
    """Everything that the page shows, of ``rows`` exits in ``end`` ns.

    ``tables`` are those of :func:`tracer.analysis.summary.summarise`, ``rips`` the exits by RIP, device and reason
    (:func:`tracer.analysis.exits.schema`); ``densities`` are by device and reason, and by vCPU where there are several.
    ``notes`` are sentences on what the trace has and lacks.
    """

    rows: int
    end: int
    notes: tuple[str, ...]
    tables: Mapping[str, Any]
    rips: Any
    densities: tuple[Binned, ...]
    console: Text
    phases: Any


def gather(trace: Any) -> Findings:
    """Analyse a trace in bounded memory, however many rows it has. Raises TraceError for a damaged one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    summary = summarise(trace)
    rips = exits.by(trace, "rip", "device", "reason")
    vcpus = summary.tables["vcpu"].to_pylist()
    ends = (row["start_ns"] + row["kvm_run_ns"] + row["handling_ns"] for row in vcpus)
    end = max(summary.duration_ns if summary.duration_ns < 1 << 62 else 0, *ends, 0)
    densities = [Density(end, ["device", "reason"]), *([Density(end, ["vcpu"])] if len(vcpus) > 1 else [])]
    console = ConsoleRows(trace.devices, pa.schema([trace.schema.field(name) for name in CONSOLE_COLUMNS]))
    wanted = {"t_exit", "t_entry", "vcpu", "reason", *CONSOLE_COLUMNS}
    for table in chunks(trace, [name for name in trace.schema.names if name in wanted]):
        console.add(table)
        for density in densities:
            density.add(table)
    text = console.text()
    before = exits_before(trace, [line.t for line in text.lines])
    steps = [stop - start for start, stop in zip([0, *before], [*before, summary.rows], strict=True)]
    return Findings(
        rows=summary.rows,
        end=end,
        notes=summary.notes,
        tables=summary.tables,
        rips=rips.filter(pc.not_equal(rips["rip"], pa.scalar(0, pa.uint64()))),  # 0: not known
        densities=tuple(made for density in densities if (made := density.binned()) is not None),
        console=text,
        phases=phases([line.t for line in text.lines], _texts(text), steps, end),
    )


def _texts(text: Text) -> list[str]:
    """The lines' texts; the last one before what was left out says so, since it seems to last that long."""
    texts = [line.text for line in text.lines]
    if text.left_out and text.resumes:
        texts[text.resumes - 1] = "(the console is left out after this line) " + texts[text.resumes - 1]
    return texts


def exits_before(trace: Any, times: Sequence[int]) -> list[int]:
    """How many exits of a trace there were before each of ``times`` (ns, in order)."""
    within, whole = [0] * len(times), [0] * (len(times) + 1)  # of batches that hold a time; of those ended by then
    for batch in trace.batches(["t_exit"]) if times else ():
        column = batch.column(0)
        taken = memoryview(column.buffers()[1]).cast("q")[column.offset : column.offset + len(column)]
        first, last = bisect_left(times, taken[0]), bisect_right(times, taken[-1])
        for index in range(first, last):
            within[index] += bisect_left(taken, times[index])
        whole[last] += len(taken)
    return [part + ended for part, ended in zip(within, accumulate(whole), strict=False)]
