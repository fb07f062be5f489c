"""How two traces differ: the alignment as tables, the rows around each first difference, totals, metadata."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import frozen

from tracer.analysis.alignment import Alignment, align
from tracer.analysis.hunks import BOTH, ONLY_A, ONLY_B, Line, hunks, rows_schema, rows_table
from tracer.analysis.maskedconsole import MaskedConsole
from tracer.analysis.requestchanges import changes as request_changes
from tracer.analysis.requestchanges import changes_schema as request_changes_schema
from tracer.analysis.runs import metadata, metadata_schema
from tracer.analysis.tables import field, named_schema, with_names
from tracer.analysis.timeline import timeline
from tracer.analysis.totals import changes, changes_schema, totals
from tracer.decode.regions import Regions
from tracer.read.console import Console
from tracer.read.reader import Trace
from vmspec.trace.record import COMPARED, FLAGS

ADDRESS = ("device", "reason", "addr", "direction")
TARGET = (*ADDRESS, "region")  # a region that moves may lie where another one lay


@frozen
class Difference:
    """The result of a comparison. ``same``: every compared column of every row is equal. ``columns`` are those
    compared. ``hunks`` are the rows around each vCPU's first difference, ``printed`` the console's lines there in A and
    B. ``tables``: ``vcpus``, ``differences``, ``phases``, ``reasons``, ``devices``, ``addresses``, ``requests``,
    ``metadata`` and ``rows``. ``notes`` are sentences."""

    same: bool
    columns: tuple[str, ...]
    alignments: Mapping[int, Alignment]
    hunks: Mapping[int, tuple[Line, ...]]
    printed: Mapping[int, tuple[str | None, str | None]]
    tables: Mapping[str, Any]
    notes: tuple[str, ...]


def compare(
    a: Trace, b: Trace, ignore: Iterable[str] = (), resync: int = 10_000, context: int = 3, mask_numbers: bool = False
) -> Difference:
    """Compare two traces. ``ignore`` names columns of :data:`COMPARED` that may differ. ``resync`` is the number of
    searches per vCPU for the place where its streams meet again. ``context`` is the number of equal rows to show.
    ``mask_numbers`` compares the console as lines whose numbers may differ, and no other row of its device."""
    columns = tuple(name for name in COMPARED if name not in set(ignore))
    named = (("A", a), ("B", b))
    notes = [f"{name} is not complete: rows may be missing at its end." for name, trace in named if not trace.complete]
    if "rip" in columns and (blind := [name for name, trace in named if not tells_rip(trace)]):
        columns = tuple(name for name in columns if name != "rip")
        notes.append(f"rip is not compared; recorded without it: {' and '.join(blind)}.")
    ours_seen: Any = MaskedConsole(a) if mask_numbers else a
    theirs_seen: Any = MaskedConsole(b) if mask_numbers else b
    if mask_numbers:
        notes.append("The console is compared as lines with masked numbers; its other rows are not counted.")
    alignments = align(ours_seen, theirs_seen, columns, resync)
    same = all(alignment.same for alignment in alignments.values())
    around = hunks(ours_seen, theirs_seen, alignments, columns, context)
    printed = {vcpu: (_printed(a, lines, ONLY_B), _printed(b, lines, ONLY_A)) for vcpu, lines in around.items()}
    tables = {"vcpus": _vcpus(alignments, printed), "differences": _blocks(alignments)}
    tables["phases"] = _phases(timeline(a).phases, timeline(b).phases)
    ours, theirs = totals(a), totals(b)
    tables["reasons"] = changes(ours, theirs, ["reason"], every=True)
    tables["devices"] = changes(ours, theirs, ["device"], every=True)
    tables["addresses"] = _addresses(a, b, changes(ours, theirs, TARGET))
    tables["requests"] = request_changes(a, b)
    tables |= {"metadata": metadata(a, b), "rows": rows_table(around)}
    return Difference(same, columns, alignments, around, printed, tables, tuple(notes))


def _printed(trace: Trace, lines: Sequence[Line], other: str) -> str | None:
    """The console line that a trace was printing at its first difference; None if it had printed none."""
    differing = next((line for line in lines if line.mark not in (BOTH, other) and line.values), None)
    before = [line for line in lines if line.mark == BOTH and line.values]
    row = differing or (before[-1] if before else None)
    if row is None:
        return None
    text = None
    for line in Console(trace, trace.devices).lines():
        if line.t > row.values["t_exit"]:
            break
        text = line.text
    return text


def schemas() -> dict[str, Any]:
    """The schemas of :class:`Difference`'s tables."""
    return {
        "vcpus": vcpus_schema(),
        "differences": differences_schema(),
        "phases": phases_schema(),
        "reasons": changes_schema(["reason"]),
        "devices": changes_schema(["device"]),
        "addresses": named_schema(changes_schema(ADDRESS)),
        "requests": request_changes_schema(),
        "metadata": metadata_schema(),
        "rows": rows_schema(),
    }


def vcpus_schema() -> Any:
    """One row for each vCPU of either trace."""
    import pyarrow as pa

    number, text = pa.int64(), pa.utf8()
    return pa.schema(
        [
            field("vcpu", number, "index of the vCPU"),
            field("exits_a", number, "rows in A"),
            field("exits_b", number, "rows in B"),
            field("equal", number, "rows of A that B has too"),
            field("changed", number, "rows of A in whose place B has a different row"),
            field("deleted", number, "rows that only A has"),
            field("inserted", number, "rows that only B has"),
            field("blocks", number, "blocks of rows that differ"),
            field("first_a", number, "row of A, from 0, at the first difference; null: no difference"),
            field("first_b", number, "row of B, from 0, at the first difference; null: no difference"),
            field("unaligned_a", number, "rows of A that were not aligned"),
            field("unaligned_b", number, "rows of B that were not aligned"),
            field("changed_columns", text, "columns that differ in changed rows, each with the number of rows"),
            field("console_a", text, "A's console line at the first difference; null: none"),
            field("console_b", text, "B's console line at the first difference; null: none"),
        ]
    )


def differences_schema() -> Any:
    """One row for each place where the two differ, in order; at most a thousand per vCPU."""
    import pyarrow as pa

    number = pa.int64()
    return pa.schema(
        [
            field("vcpu", number, "index of the vCPU"),
            field("kind", pa.utf8(), "changed, deleted (only in A) or inserted (only in B)"),
            field("row_a", number, "first row of the block in A, from 0"),
            field("rows_a", number, "number of rows of A in the block"),
            field("row_b", number, "first row of the block in B, from 0"),
            field("rows_b", number, "number of rows of B in the block"),
        ]
    )


def phases_schema() -> Any:
    """One row for each phase of either boot, in the order of A; null: the boot has no such phase."""
    import pyarrow as pa

    number = pa.int64()
    return pa.schema(
        [
            field("phase", pa.utf8(), "phase of the boot, as in `vmtrace timeline`"),
            field("time_a_ns", number, "its length in A", "ns"),
            field("time_b_ns", number, "its length in B", "ns"),
            field("difference_ns", number, "B minus A; null: one trace lacks the phase", "ns"),
            field("ratio", pa.float64(), "B divided by A"),
            field("handling_a_ns", number, "handling time in A", "ns"),
            field("handling_b_ns", number, "handling time in B", "ns"),
            field("exits_a", number, "exits in A", detail=True),
            field("exits_b", number, "exits in B", detail=True),
        ]
    )


def _phases(a: Any, b: Any) -> Any:
    import pyarrow as pa

    columns = ("time_ns", "handling_ns", "exits")
    ours, theirs = ({row["phase"]: [row[name] for name in columns] for row in side.to_pylist()} for side in (a, b))
    rows = []
    for phase in {**ours, **theirs}:
        (time_a, spent_a, exits_a), (time_b, spent_b, exits_b) = (
            side.get(phase, [None] * len(columns)) for side in (ours, theirs)
        )
        both = time_a is not None and time_b is not None
        rows.append(
            {
                "phase": phase,
                "time_a_ns": time_a,
                "time_b_ns": time_b,
                "difference_ns": time_b - time_a if both else None,
                "ratio": time_b / time_a if both and time_a else None,
                "handling_a_ns": spent_a,
                "handling_b_ns": spent_b,
                "exits_a": exits_a,
                "exits_b": exits_b,
            }
        )
    return pa.Table.from_pylist(rows, schema=phases_schema())


def _addresses(a: Trace, b: Trace, changed: Any) -> Any:
    """The changes by address with names: a region has the name that A gives it, or if only B has the exits, B."""
    ours, theirs = Regions(a.metadata), Regions(b.metadata)
    return with_names(changed, [ours if exits else theirs for exits in changed["exits_a"].to_pylist()])


def tells_rip(trace: Trace) -> bool:
    """Whether any row has a rip; true for a trace without rows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = 0
    for batch in trace.batches(["flags"]):
        rows += batch.num_rows
        if pc.any(pc.not_equal(pc.bit_wise_and(batch.column(0), pa.scalar(FLAGS["RIP"], pa.uint16())), 0)).as_py():
            return True
    return not rows


def _vcpus(alignments: Mapping[int, Alignment], printed: Mapping[int, tuple[str | None, str | None]]) -> Any:
    import pyarrow as pa

    rows = []
    for vcpu, found in alignments.items():
        first = found.blocks[0] if found.blocks else None
        unaligned = found.unaligned or (0, 0)
        columns = ", ".join(f"{name} {count:,}" for name, count in found.columns.most_common())
        console_a, console_b = printed.get(vcpu, (None, None))
        rows.append(
            {
                "vcpu": vcpu,
                "exits_a": found.a.row,
                "exits_b": found.b.row,
                "equal": found.equal,
                "changed": found.changed,
                "deleted": found.deleted,
                "inserted": found.inserted,
                "blocks": found.kinds.total(),
                "first_a": first.row_a if first else None,
                "first_b": first.row_b if first else None,
                "unaligned_a": unaligned[0],
                "unaligned_b": unaligned[1],
                "changed_columns": columns,
                "console_a": console_a,
                "console_b": console_b,
            }
        )
    return pa.Table.from_pylist(rows, schema=vcpus_schema())


def _blocks(alignments: Mapping[int, Alignment]) -> Any:
    import pyarrow as pa

    rows = [
        {
            "vcpu": vcpu,
            "kind": block.kind,
            "row_a": block.row_a,
            "rows_a": block.rows_a,
            "row_b": block.row_b,
            "rows_b": block.rows_b,
        }
        for vcpu, alignment in alignments.items()
        for block in alignment.blocks
    ]
    return pa.Table.from_pylist(rows, schema=differences_schema())
