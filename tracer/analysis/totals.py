"""Exits and their handling time by kind, and the changes between two such counts."""

from collections.abc import Sequence
from typing import Any

from tracer.analysis.scan import Grouping, regroup, scan
from tracer.analysis.tables import field
from tracer.read.reader import Trace

KEYS = ("reason", "device", "addr", "region", "direction")
# The counts of a kind, from rows of :func:`with_handling`.
MEASURES = {"exits": ("handling", "count"), "handling_ns": ("handling", "sum")}


def totals_schema() -> Any:
    """One row for each kind of exit. Memory grows with the number of kinds: the addresses that the guest accessed."""
    import pyarrow as pa

    return pa.schema(
        [
            field("reason", pa.utf8(), "KVM exit reason"),
            field("device", pa.utf8(), "device that claims the address; - if none does"),
            field("addr", pa.uint64(), "port, guest-physical address or MSR", unit="address"),
            field("region", pa.uint8(), "index of the device's region"),
            field("direction", pa.utf8(), "read, write or none"),
            field("exits", pa.int64(), "number of exits"),
            field("handling_ns", pa.int64(), "from their t_exit to their t_entry, in all", unit="ns"),
        ]
    )


def totals(trace: Trace) -> Any:
    """Count a trace's exits by :data:`KEYS`: a table of :func:`totals_schema`, in no particular order."""
    return scan(trace, Grouping(("t_exit", "t_entry", *KEYS), KEYS, MEASURES, with_handling))[0].cast(totals_schema())


def by(table: Any, keys: Sequence[str]) -> Any:
    """Group a table of totals by fewer keys; the columns are those, then ``exits`` and ``handling_ns``."""
    import pyarrow as pa

    schema = pa.schema([totals_schema().field(name) for name in (*keys, *MEASURES)])
    return regroup(table, keys, MEASURES).cast(schema)


def with_handling(rows: Any) -> Any:
    """Rows with a column ``handling``, the ns from t_exit to t_entry."""
    import pyarrow.compute as pc

    return rows.append_column("handling", pc.subtract(rows["t_entry"], rows["t_exit"]))


def changes_schema(keys: Sequence[str]) -> Any:
    """One row for each kind of exit, by ``keys``; the largest change of the number of exits first."""
    import pyarrow as pa

    kinds = totals_schema()
    return pa.schema(
        [
            *(kinds.field(key) for key in keys),
            field("exits_a", pa.int64(), "exits in A"),
            field("exits_b", pa.int64(), "exits in B"),
            field("difference", pa.int64(), "B minus A"),
            field("ratio", pa.float64(), "B divided by A; null: A has none"),
            field("handling_a_ns", pa.int64(), "handling time in A", "ns"),
            field("handling_b_ns", pa.int64(), "handling time in B", "ns"),
        ]
    )


def changes(a: Any, b: Any, keys: Sequence[str], *, every: bool = False) -> Any:
    """Compare two tables of totals by ``keys``: a table of :func:`changes_schema`, of the kinds whose number differs in
    A and B, or of ``every`` kind."""
    import pyarrow as pa
    import pyarrow.compute as pc

    both = by(a, keys).join(by(b, keys), list(keys), join_type="full outer", left_suffix="_a", right_suffix="_b")
    counts = [pc.fill_null(both[name], 0) for name in ("exits_a", "exits_b")]
    times = [pc.fill_null(both[name], 0) for name in ("handling_ns_a", "handling_ns_b")]
    known = pc.if_else(pc.equal(counts[0], 0), None, counts[0])
    columns = {
        **{key: both[key] for key in keys},
        "exits_a": counts[0],
        "exits_b": counts[1],
        "difference": pc.subtract(counts[1], counts[0]),
        "ratio": pc.divide(counts[1].cast(pa.float64()), known.cast(pa.float64())),
        "handling_a_ns": times[0],
        "handling_b_ns": times[1],
    }
    table = pa.table(columns).cast(changes_schema(keys))
    table = table if every else table.filter(pc.not_equal(table["difference"], 0))
    order = pa.table({"size": pc.negate(pc.abs(table["difference"])), **{key: table[key] for key in keys}})
    return table.take(pc.sort_indices(order, sort_keys=[(name, "ascending") for name in order.column_names]))
