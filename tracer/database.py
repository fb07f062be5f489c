"""A trace for SQL: DuckDB over the trace's batches, which stream through it; nothing but the trace can be read.

Views: ``exits``, all columns, times in ns, and ``handling_ns``, ``what`` (the register's name), ``unclaimed``;
``by_reason``, ``by_device``, ``by_port``, ``by_vcpu``, ``unclaimed``, with exits, bytes and handling times of each; and
``console``, the lines that the guest printed with their times.
"""

from collections.abc import Iterator
from typing import Any

from tracer.decode import name
from tracer.errors import TraceError
from tracer.reader import Trace
from vmspec.record import FLAGS

_COUNTS = """count(*) AS exits, sum(size * count)::BIGINT AS bytes, sum(handling_ns)::BIGINT AS handling_ns,
    avg(handling_ns)::BIGINT AS mean_ns, max(handling_ns) AS longest_ns"""
_TIMED = """count(*) AS exits, sum(handling_ns)::BIGINT AS handling_ns, avg(handling_ns)::BIGINT AS mean_ns,
    max(handling_ns) AS longest_ns"""
VIEWS = {
    "by_reason": f"SELECT reason, {_COUNTS} FROM exits GROUP BY ALL ORDER BY exits DESC",
    "by_device": f"SELECT device, {_COUNTS} FROM exits GROUP BY ALL ORDER BY exits DESC",
    "by_port": f"""SELECT addr, what, direction, size, device, {_TIMED} FROM exits
        WHERE reason = 'io' GROUP BY ALL ORDER BY exits DESC""",
    "by_vcpu": f"SELECT vcpu, {_COUNTS} FROM exits GROUP BY ALL ORDER BY vcpu",
    "unclaimed": f"""SELECT reason, addr, what, direction, size, {_TIMED} FROM exits
        WHERE unclaimed GROUP BY ALL ORDER BY exits DESC""",
}
_ADDRESSES = ("addr", "rip")
_TIMES = ("t_exit", "t_entry", "t", "gap")


def query(trace: Trace, text: str) -> Any:
    """The result of a statement over the views, as a ``pyarrow.Table``; times and addresses have their units.

    Raises TraceError for SQL that is wrong, as DuckDB says it, and where DuckDB is not installed.
    """
    try:
        import duckdb
    except ImportError:
        raise TraceError("duckdb is not installed: pip install duckdb (vmrun's extra: sql)") from None
    # In memory, without files, without what else Python has; settled before the user's text is read.
    settings: dict[str, str | bool | int | float | list[str]] = {
        "python_enable_replacements": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    rows = _Rows(trace)
    with duckdb.connect(":memory:", config=settings) as connection:
        try:
            _prepare(connection, rows, trace, text)
            connection.execute("SET enable_external_access = false; SET lock_configuration = true")
            found = connection.sql(text)
            if found is None:
                raise TraceError("the statement has no result; a question begins with SELECT")
            return _with_units(found.to_arrow_table())
        except UnicodeError as error:
            raise TraceError("SQL: the statement has a character that no text has") from error
        except (duckdb.Error, RuntimeError, OSError) as error:
            raise rows.failure or TraceError(*f"SQL: {error}".expandtabs().splitlines()) from error


def _prepare(connection: Any, rows: "_Rows", trace: Trace, text: str) -> None:
    connection.register("recorded", rows)
    connection.execute("CREATE VIEW exits AS SELECT * FROM recorded")
    for view, definition in VIEWS.items():
        connection.execute(f"CREATE VIEW {view} AS {definition}")
    if "console" in text.lower():  # made of the whole trace, so only where it is asked for
        connection.register("lines", _console(trace))
        connection.execute("CREATE VIEW console AS SELECT * FROM lines")


class _Rows:
    """The trace's rows, which DuckDB reads afresh for each time that a statement names them."""

    def __init__(self, trace: Trace) -> None:
        import pyarrow as pa

        self._trace = trace
        plain = [
            pa.field(field.name, pa.utf8() if pa.types.is_dictionary(field.type) else field.type)
            for field in trace.schema
        ]
        added = [("handling_ns", pa.int64()), ("what", pa.utf8()), ("unclaimed", pa.bool_())]
        self._schema = pa.schema([*plain, *(pa.field(*one) for one in added)])
        self.failure: TraceError | None = None  # DuckDB tells errors of a stream as its own

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """A stream of batches (the Arrow PyCapsule interface)."""
        import pyarrow as pa

        reader = pa.RecordBatchReader.from_batches(self._schema, self._batches())
        return reader.__arrow_c_stream__(requested_schema)

    def _batches(self) -> Iterator[Any]:
        try:
            yield from self._plain()
        except TraceError as error:
            self.failure = error
            raise

    def _plain(self) -> Iterator[Any]:
        import pyarrow as pa
        import pyarrow.compute as pc

        for batch in self._trace.batches():
            arrays = [array.cast(field.type) for array, field in zip(batch.columns, self._trace_fields(), strict=True)]
            arrays.append(pc.subtract(batch["t_entry"], batch["t_exit"]))
            arrays.append(names(batch))
            unclaimed = pa.scalar(FLAGS["UNCLAIMED"], pa.uint16())
            arrays.append(pc.not_equal(pc.bit_wise_and(batch["flags"], unclaimed), pa.scalar(0, pa.uint16())))
            yield pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    def _trace_fields(self) -> list[Any]:
        return [self._schema.field(index) for index in range(len(self._trace.schema))]


def names(batch: Any) -> Any:
    """The register's name for each row of a batch, "" where it has none: a utf8 array."""
    import pyarrow as pa

    keys = ["reason", "addr", "direction", "device"]
    table = pa.table({key: batch[key] for key in keys})
    table = table.append_column("row", pa.array(range(batch.num_rows), pa.int64()))
    groups = table.group_by(keys).aggregate([("row", "list")])
    found = [""] * batch.num_rows
    for group in groups.to_pylist():
        named = name(group["reason"], group["addr"], 1, group["direction"], group["device"])
        if named:
            for row in group["row_list"]:
                found[row] = named
    return pa.array(found, pa.utf8())


def _console(trace: Trace) -> Any:
    import pyarrow as pa

    from tracer.console import Console

    lines = Console(trace, trace.devices).lines()
    befores = [0, *(line.row for line in lines)]
    schema = pa.schema([("t", pa.int64()), ("gap", pa.int64()), ("exits", pa.int64()), ("line", pa.utf8())])
    rows = [
        {"t": line.t, "gap": line.gap, "exits": line.row - before, "line": line.text}
        for line, before in zip(lines, befores, strict=False)
    ]
    return pa.Table.from_pylist(rows, schema=schema)


def _with_units(table: Any) -> Any:
    """The table with a unit for each column whose name says it, and whole numbers as int64 where they fit."""
    import pyarrow as pa

    fields, columns = [], []
    for field, column in zip(table.schema, table.columns, strict=True):
        if pa.types.is_decimal(column.type) and column.type.scale == 0:  # a sum is a HUGEINT
            try:
                column = column.cast(pa.int64())  # noqa: PLW2901
            except pa.ArrowInvalid:
                pass
        unit = "ns" if field.name in _TIMES or field.name.endswith("_ns") else ""
        unit = "address" if field.name in _ADDRESSES else unit
        fields.append(pa.field(field.name, column.type, metadata={"unit": unit}))
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))
