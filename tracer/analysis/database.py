"""A trace for SQL: DuckDB over the trace's batches, which stream through it. It can read nothing but the trace.

Views: ``exits``, the columns of :mod:`tracer.format.vocabulary` and ``unclaimed``; ``by_reason``, ``by_device``,
``by_port``, ``by_vcpu``, ``unclaimed``, with exits, bytes and handling times of each; and ``console``, the lines that
the guest printed with their times.

DuckDB reads all columns of a stream, and decompressing them all costs more than most statements. So DuckDB first plans
the statement over an empty trace, and then gets only the columns of that plan.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tracer.analysis.merge import machines
from tracer.analysis.tables import schema
from tracer.decode.batches import Describer, pieces
from tracer.format.errors import TraceError
from tracer.format.jsonvalues import EXACT
from tracer.format.schema import schema_of
from tracer.format.vocabulary import EXIT, SOURCES, exit_schema
from tracer.read.reader import Trace
from vmspec.trace.record import EXITS, FLAGS

_COUNTS = """count(*) AS exits, sum(size * count)::BIGINT AS bytes, sum(handling_ns)::BIGINT AS handling_ns,
    avg(handling_ns)::BIGINT AS mean_ns, max(handling_ns) AS max_ns"""
_TIMED = """count(*) AS exits, sum(handling_ns)::BIGINT AS handling_ns, avg(handling_ns)::BIGINT AS mean_ns,
    max(handling_ns) AS max_ns"""
VIEWS = {
    "by_reason": f"SELECT reason, {_COUNTS} FROM exits GROUP BY ALL ORDER BY exits DESC",
    "by_device": f"SELECT device, {_COUNTS} FROM exits GROUP BY ALL ORDER BY exits DESC",
    "by_port": f"""SELECT addr, what, direction, size, device, {_TIMED} FROM exits
        WHERE reason = 'io' GROUP BY ALL ORDER BY exits DESC""",
    "by_vcpu": f"SELECT vcpu, {_COUNTS} FROM exits GROUP BY ALL ORDER BY vcpu",
    "unclaimed": f"""SELECT reason, addr, what, direction, size, {_TIMED} FROM exits
        WHERE unclaimed GROUP BY ALL ORDER BY exits DESC""",
}
# Of the view exits. ``unclaimed`` is a flag. The flag rip is left out: a column has its name.
COLUMNS = (*(column.name for column in EXIT), "unclaimed")
_SOURCES = {**SOURCES, "unclaimed": ("flags",)}
_UNREAD = "a column of the trace was not read"
_VIEW_COLUMNS = (
    ("exits", "int64", "", "number of exits"),
    ("bytes", "int64", "bytes", "bytes transferred: items times their size"),
    ("handling_ns", "int64", "ns", "total handling time"),
    ("mean_ns", "int64", "ns", "mean handling time"),
    ("max_ns", "int64", "ns", "longest handling time"),
)
_CONSOLE = (
    ("t_ns", "int64", "ns", "when the line's first byte was written, since the machine started"),
    ("gap_ns", "int64", "ns", "time since the first byte of the previous line, or since the start"),
    ("exits", "int64", "", "exits in that time"),
    ("line", "utf8", "text", "text of the line"),
)
# In memory, without access to Python's variables, without extensions.
_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "python_enable_replacements": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
# Locked before the user's text is read.
_LOCK = "SET enable_external_access = false; SET lock_configuration = true"


class _UnreadError(Exception):
    """The statement reads a column that its plan did not name."""


def query(trace: Trace, text: str) -> Any:
    """The result of a statement over the views, as a ``pyarrow.Table``; times and addresses have their units.

    Raises TraceError with DuckDB's message for wrong SQL, and if DuckDB is not installed.
    """
    try:
        import duckdb
    except ImportError:
        raise TraceError("duckdb is not installed: pip install duckdb (vmrun's extra: sql)") from None
    try:
        text.encode()
    except UnicodeError as error:
        raise TraceError("SQL: the statement has an invalid character") from error
    try:
        wanted = _read_by(text)
    except duckdb.Error:  # running the statement reports what is wrong with it
        wanted = COLUMNS
    try:
        return _answer(trace, text, wanted)
    except _UnreadError:
        return _answer(trace, text, COLUMNS)


def _answer(trace: Trace, text: str, wanted: Sequence[str]) -> Any:
    """The result of a statement that reads these columns of the view ``exits``."""
    import duckdb

    rows = _Rows(trace.schema, wanted, trace.batches, machines(trace.metadata))
    with duckdb.connect(":memory:", config=_SETTINGS) as connection:
        try:
            _prepare(connection, rows, wanted)
            if "console" in text.lower():  # it needs the whole trace, so it is made only if the statement uses it
                _add_console(connection, _console(trace))
            connection.execute(_LOCK)
            found = connection.sql(text)
            if found is None:
                raise TraceError("the statement returns no rows; begin it with SELECT")
            return _with_units(found.to_arrow_table())
        except (duckdb.Error, RuntimeError, OSError) as error:
            if _UNREAD in str(error) and wanted is not COLUMNS:
                raise _UnreadError from None
            raise rows.failure or TraceError(*f"SQL: {error}".expandtabs().splitlines()) from error


def _read_by(text: str) -> Sequence[str]:
    """The columns of ``exits`` that DuckDB's plan of a statement reads; all of them if there is not exactly one
    plan."""
    import duckdb

    if len(duckdb.extract_statements(text)) != 1:
        return COLUMNS
    with duckdb.connect(":memory:", config=_SETTINGS) as connection:
        _prepare(connection, _Rows(schema_of(EXITS, {}), COLUMNS, lambda names: iter(())), COLUMNS)
        _add_console(connection, schema(_CONSOLE).empty_table())
        connection.execute(_LOCK)
        rows = connection.execute(f"EXPLAIN (FORMAT json) {text}").fetchall()
        found = {name for row in rows for plan in json.loads(row[-1]) for name in _scanned(plan)}
    return tuple(name for name in COLUMNS if name in found) or COLUMNS[:1]


def _scanned(node: Mapping[str, Any]) -> Iterator[str]:
    """The words in a plan's scans; the names of the columns that they read are among them."""
    if "SCAN" in node["name"]:
        for told in node.get("extra_info", {}).values():
            yield from re.findall(r"\w+", str(told))
    for child in node["children"]:
        yield from _scanned(child)


def _prepare(connection: Any, rows: "_Rows", wanted: Sequence[str]) -> None:
    connection.register("recorded", rows)
    columns = (f'"{name}"' if name in wanted else _unread(name, rows.types[name]) for name in COLUMNS)
    connection.execute(f"CREATE VIEW exits AS SELECT {', '.join(columns)} FROM recorded")
    for view, definition in VIEWS.items():
        connection.execute(f"CREATE VIEW {view} AS {definition}")


def _unread(name: str, type_: Any) -> str:
    """A column that DuckDB was not given: it has the name and the type, and reading it is an error."""
    import pyarrow as pa

    names = {"bool": "BOOLEAN", "binary": "BLOB", "int64": "BIGINT", "uint64": "UBIGINT", "uint32": "UINTEGER"}
    names |= {"uint16": "USMALLINT", "uint8": "UTINYINT"}
    kind = "VARCHAR" if pa.types.is_dictionary(type_) else names[str(type_)]
    return f"error('{_UNREAD}')::{kind} AS \"{name}\""


def _add_console(connection: Any, lines: Any) -> None:
    connection.register("lines", lines)
    connection.execute("CREATE VIEW console AS SELECT * FROM lines")


class _Rows:
    """Columns of the trace's rows. DuckDB reads them anew each time that a statement names them.

    ``batches`` returns batches of the given columns. Names stay dictionary codes, which DuckDB groups faster.
    """

    def __init__(
        self,
        schema: Any,
        wanted: Sequence[str],
        batches: Callable[[Sequence[str]], Iterator[Any]],
        machines: Mapping[int, str] | None = None,
    ) -> None:
        import pyarrow as pa

        words = pa.dictionary(pa.int32(), pa.utf8())
        self.types = {field.name: field.type for field in schema}
        self.types |= {"handling_ns": pa.int64(), "what": words, "rw": words, "meaning": words, "value": words}
        self.types |= {"unclaimed": pa.bool_()}
        self.failure: TraceError | None = None  # DuckDB reports errors of a stream as its own
        self._schema = pa.schema([pa.field(name, self.types[name]) for name in wanted])
        self._derived = [name for name in wanted if name in SOURCES]
        sources = {source for name in wanted for source in _SOURCES.get(name, (name,))}
        self._names = [name for name in schema.names if name in sources]
        self._batches, self._machines = batches, machines

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """A stream of batches (the Arrow PyCapsule interface)."""
        import pyarrow as pa

        reader = pa.RecordBatchReader.from_batches(self._schema, self._stream())
        return reader.__arrow_c_stream__(requested_schema)

    def _stream(self) -> Iterator[Any]:
        import pyarrow as pa

        describer = Describer(self._machines)
        try:
            for whole in self._batches(self._names):
                for batch in pieces(whole) if self._derived else (whole,):
                    made = describer.columns(batch, self._derived)
                    arrays = [made[name] if name in made else _column(batch, name) for name in self._schema.names]
                    yield pa.RecordBatch.from_arrays(arrays, schema=self._schema)
        except TraceError as error:
            self.failure = error
            raise


def _column(batch: Any, name: str) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if name == "unclaimed":
        return pc.bit_wise_and(batch["flags"], pa.scalar(FLAGS["UNCLAIMED"], pa.uint16())).cast(pa.bool_())
    return batch[name]


def _console(trace: Trace) -> Any:
    import pyarrow as pa

    from tracer.read.console import Console

    lines = Console(trace, trace.devices).lines()
    befores = [0, *(line.row for line in lines)]
    rows = [
        {"t_ns": line.t, "gap_ns": line.gap, "exits": line.row - before, "line": line.text}
        for line, before in zip(lines, befores, strict=False)
    ]
    return pa.Table.from_pylist(rows, schema=schema(_CONSOLE))


def schemas() -> dict[str, Any]:
    """The schemas of the views."""
    import pyarrow as pa

    known = {field.name: field for field in exit_schema()}
    known["unclaimed"] = pa.field("unclaimed", pa.bool_(), metadata={"unit": "", "doc": "the flag UNCLAIMED"})
    keys: dict[str, tuple[str, ...]] = {"by_reason": ("reason",), "by_device": ("device",), "by_vcpu": ("vcpu",)}
    keys |= {"by_port": ("addr", "what", "direction", "size", "device")}
    keys |= {"unclaimed": ("reason", "addr", "what", "direction", "size")}
    counts = schema(_VIEW_COLUMNS)
    timed = [field for field in counts if field.name != "bytes"]
    whole = ("by_reason", "by_device", "by_vcpu")
    views = {
        name: pa.schema([*(known[key] for key in keys[name]), *(counts if name in whole else timed)]) for name in VIEWS
    }
    return {"exits": pa.schema([known[name] for name in COLUMNS]), **views, "console": schema(_CONSOLE)}


def _with_units(table: Any) -> Any:
    """The table with a unit for each column whose name or type implies one. 128-bit sums become int64 if every value of
    the column is exact in JSON; else they stay decimals, which JSON has as strings."""
    import pyarrow as pa
    import pyarrow.compute as pc

    known = {column.name: column.unit for column in EXIT}
    fields, columns = [], []
    for field, column in zip(table.schema, table.columns, strict=True):
        if pa.types.is_decimal(column.type) and column.type.scale == 0:
            ends = pc.min_max(column).as_py()
            if ends["min"] is None or -EXACT <= ends["min"] <= ends["max"] <= EXACT:
                column = column.cast(pa.int64())  # noqa: PLW2901
        unit = known.get(field.name, "ns" if field.name.endswith("_ns") else "")
        if not pa.types.is_integer(column.type) and unit != "ns":
            unit = ""  # a column of another kind that was given this name
        if pa.types.is_uint64(column.type) and not unit:
            unit = "hex"
        fields.append(pa.field(field.name, column.type, metadata={"unit": unit}))
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))
