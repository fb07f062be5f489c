"""The rows around the first difference of each vCPU, read from both traces after they have been aligned."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen

from tracer.analysis.alignment import Alignment
from tracer.analysis.tables import WHAT, field
from tracer.decode import named
from tracer.decode.regions import Regions
from tracer.read.reader import Trace
from vmspec.trace.record import EXITS

BLOCK_ROWS = 8  # rows of each side of a block that are shown; the rest are counted
HUNK_ROWS = 40  # rows shown around a first difference, at most
BOTH, ONLY_A, ONLY_B = " ", "-", "+"


@frozen
class Line:
    """A row at a difference. ``mark``: "-" of A, "+" of B, " " the same in both. ``row_a`` and ``row_b`` number the
    vCPU's rows from 0. ``left_out``: instead of a row, the number of rows that are not shown. ``values`` are the row's
    columns and its ``place`` (:func:`rows_at`). ``differs`` names the columns whose value differs from the paired row
    of the other trace."""

    mark: str
    row_a: int | None
    row_b: int | None
    left_out: int = 0
    values: Mapping[str, Any] = {}
    differs: tuple[str, ...] = ()


def hunks(
    a: Trace, b: Trace, alignments: Mapping[int, Alignment], columns: Sequence[str], context: int
) -> dict[int, tuple[Line, ...]]:
    """By vCPU, the rows around its first difference, with ``context`` equal ones before and after; ``columns`` were
    compared. Traces are read only as far as needed."""
    outlines = {vcpu: list(_outline(found, context)) for vcpu, found in alignments.items() if found.blocks}
    # A row of both is shown as in A.
    ours = rows_at(a, {vcpu: [line.row_a for line in lines] for vcpu, lines in outlines.items()})
    added = {vcpu: [line.row_b for line in lines if line.mark != BOTH] for vcpu, lines in outlines.items()}
    theirs = rows_at(b, added)
    return {vcpu: tuple(_filled(vcpu, lines, ours, theirs, columns)) for vcpu, lines in outlines.items()}


def _outline(found: Alignment, context: int) -> Iterator[Line]:
    """The lines without their values. Changed rows are paired: a row of A, then the one of B in its place."""
    blocks = found.blocks
    at_a, at_b = blocks[0].row_a, blocks[0].row_b
    before = min(context, at_a, at_b)
    at_a, at_b = at_a - before, at_b - before
    shown = 0
    for index, block in enumerate(blocks):
        equal = block.row_a - at_a
        if index and (equal > context or shown >= HUNK_ROWS):
            break
        yield from (Line(BOTH, at_a + step, at_b + step) for step in range(equal))
        pairs = min(block.rows_a, block.rows_b, BLOCK_ROWS)
        for step in range(pairs):
            yield Line(ONLY_A, block.row_a + step, block.row_b + step)
            yield Line(ONLY_B, block.row_a + step, block.row_b + step)
        for mark, first, rows in ((ONLY_A, block.row_a, block.rows_a), (ONLY_B, block.row_b, block.rows_b)):
            for step in range(pairs, min(rows, BLOCK_ROWS)):
                yield Line(mark, first + step, None) if mark == ONLY_A else Line(mark, None, first + step)
            if rows > BLOCK_ROWS:
                yield Line(mark, None, None, left_out=rows - BLOCK_ROWS)
        shown += equal + block.rows_a + block.rows_b
        at_a, at_b = block.ends
    left = min(found.a.row - at_a, found.b.row - at_b) if found.unaligned is None else 0
    nearest = next((block for block in blocks if (block.row_a, block.row_b) >= (at_a, at_b)), None)
    after = min(context, left, nearest.row_a - at_a if nearest else context)
    yield from (Line(BOTH, at_a + step, at_b + step) for step in range(after))


def _filled(
    vcpu: int, lines: Sequence[Line], ours: Mapping[Any, Any], theirs: Mapping[Any, Any], columns: Sequence[str]
) -> Iterator[Line]:
    for line in lines:
        values, other = ours.get((vcpu, line.row_a), {}), theirs.get((vcpu, line.row_b), {})
        paired = values and other and line.mark != BOTH
        differs = tuple(name for name in columns if values[name] != other[name]) if paired else ()
        shown = other if line.mark == ONLY_B else values
        yield Line(line.mark, line.row_a, line.row_b, line.left_out, {} if line.left_out else shown, differs)


def rows_at(trace: Trace, wanted: Mapping[int, Iterable[int | None]]) -> dict[tuple[int, int], dict[str, Any]]:
    """Rows by (vCPU, number of the row among that vCPU's): a dict of the columns for each, with ``place``, the access's
    place in a region (:meth:`tracer.decode.regions.Regions.place`)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    regions = Regions(trace.metadata)
    found: dict[tuple[int, int], dict[str, Any]] = {}
    left = {vcpu: sorted({row for row in rows if row is not None}) for vcpu, rows in wanted.items()}
    left = {vcpu: rows for vcpu, rows in left.items() if rows}
    seen = dict.fromkeys(left, 0)
    batches = trace.batches() if left else iter(())
    for batch in batches:
        for vcpu in list(left):
            places = pc.indices_nonzero(pc.equal(batch.column("vcpu"), pa.scalar(vcpu, pa.uint16())))
            here = [row for row in left[vcpu] if row < seen[vcpu] + len(places)]
            if here:
                taken = batch.take(places.take(pa.array([row - seen[vcpu] for row in here], pa.int64())))
                for row, values in zip(here, taken.to_pylist(), strict=True):
                    place = regions.place(values["device"], values["region"], values["addr"])
                    found[vcpu, row] = values | {"place": place}
                left[vcpu] = left[vcpu][len(here) :]
                if not left[vcpu]:
                    del left[vcpu]
            seen[vcpu] += len(places)
        if not left:
            break
    return found


def rows_schema() -> Any:
    """One row for each line of a hunk: these columns, then the trace's."""
    import pyarrow as pa

    from tracer.format.schema import schema_of

    number = pa.int64()
    columns = [c for c in schema_of(EXITS, {}) if c.name != "vcpu"]
    plain = [c.with_type(c.type.value_type if pa.types.is_dictionary(c.type) else c.type) for c in columns]
    return pa.schema(
        [
            field("vcpu", pa.uint16(), "index of the vCPU"),
            field("mark", pa.utf8(), "-: a row of A; +: a row of B; space: a row of both, as in A"),
            field("row_a", number, "number of the row on its vCPU in A"),
            field("row_b", number, "number of the row on its vCPU in B"),
            field("left_out", number, "number of rows left out here; the columns of a row are then null"),
            field("differs", pa.list_(pa.utf8()), "columns whose value differs in the other trace"),
            *(c.with_nullable(True) for c in plain),
            field("what", pa.utf8(), WHAT, "text"),
            field(
                "line", pa.utf8(), "with --mask-numbers: the console line with # for numbers; null: not a console line"
            ),
        ]
    )


def rows_table(found: Mapping[int, Sequence[Line]]) -> Any:
    """Hunks as a table of :func:`rows_schema`."""
    import pyarrow as pa

    rows = [
        {
            **line.values,
            "what": _what(line.values) if line.values else None,
            "vcpu": vcpu,
            "mark": line.mark,
            "row_a": line.row_a,
            "row_b": line.row_b,
            "left_out": line.left_out,
            "differs": list(line.differs),
        }
        for vcpu, lines in found.items()
        for line in lines
    ]
    return pa.Table.from_pylist(rows, schema=rows_schema())


def _what(row: Mapping[str, Any]) -> str:
    return named(row["reason"], row["addr"], row["size"], row["direction"], row["device"], row["place"])
