"""A trace for SQL: DuckDB over the trace's batches, which stream through it. It can read nothing but the trace.

Views: ``exits``, the columns of :mod:`tracer.format.vocabulary` and ``unclaimed``; ``by_reason``, ``by_device``,
``by_port``, ``by_vcpu``, ``unclaimed``, with exits, bytes and handling times of each; ``console``, the lines that the
guest printed with their times; ``pauses``; and each table beside the exits by its name, with the columns that it has.

DuckDB reads all columns of a stream, and decompressing them all costs more than most statements. So DuckDB first plans
the statement over an empty trace, and then gets only the columns of that plan.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from tracer.analysis.account import pauses
from tracer.analysis.merge import machines
from tracer.analysis.tables import schema, table
from tracer.decode.batches import Describer, pieces
from tracer.decode.regions import Regions
from tracer.format.errors import TraceError
from tracer.format.jsonvalues import EXACT
from tracer.format.schema import column_type
from tracer.format.vocabulary import EXIT, SOURCES, plain_schema, unit
from tracer.read.reader import Trace
from vmspec.trace.files import BESIDE, TRACE
from vmspec.trace.record import EXITS, FLAGS
from vmspec.trace.table import Table
from vmspec.trace.tables import TABLES

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
Batches = Callable[[str, Sequence[str]], Iterator[Any]]
Wanted = Mapping[str, Sequence[str]]  # of each view of recorded rows, the columns that a statement reads
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
_PAUSES = (
    ("machine", "utf8", "", "name of the machine in a merged trace, else empty"),
    ("t_ns", "int64", "ns", "when all vCPUs had stopped, since the machine started"),
    ("time_ns", "int64", "ns", "length of the pause"),
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
        wanted = every()
    try:
        return _answer(trace, text, wanted)
    except _UnreadError:
        return _answer(trace, text, every())


def every() -> dict[str, Sequence[str]]:
    """The columns of the views that are tables of the trace."""
    return {TRACE: COLUMNS, **{name: [column.name for column in TABLES[name].columns] for name in BESIDE}}


def _answer(trace: Trace, text: str, wanted: Wanted) -> Any:
    """The result of a statement that reads these columns."""
    import duckdb

    rows = _views(wanted, partial(_batches, trace), machines(trace.metadata), Regions(trace.metadata))
    with duckdb.connect(":memory:", config=_SETTINGS) as connection:
        try:
            _prepare(connection, rows)
            _add(connection, "pauses", _pauses(trace))
            if "console" in text.lower():  # it needs the whole trace, so it is made only if the statement uses it
                _add(connection, "console", _console(trace))
            connection.execute(_LOCK)
            found = connection.sql(text)
            if found is None:
                raise TraceError("the statement returns no rows; begin it with SELECT")
            return _with_units(found.to_arrow_table())
        except (duckdb.Error, RuntimeError, OSError) as error:
            if _UNREAD in str(error) and wanted != every():
                raise _UnreadError from None
            failures = [one.failure for one in rows.values() if one.failure is not None]
            raise (failures or [TraceError(*f"SQL: {error}".expandtabs().splitlines())])[0] from error


def _views(wanted: Wanted, batches: Batches, machines: Mapping[int, str], regions: Regions) -> dict[str, "_Rows"]:
    """The views of recorded rows. ``batches`` returns the batches of a table, by its name, with the given columns."""
    beside = {name: _Rows(TABLES[name], wanted[name], partial(batches, name)) for name in BESIDE}
    return {TRACE: _Exits(wanted[TRACE], partial(batches, TRACE), machines, regions), **beside}


def _batches(trace: Trace, name: str, columns: Sequence[str]) -> Iterator[Any]:
    """Batches of a table of the trace. The table is opened when a statement reads it."""
    yield from trace.tables.need(name).batches(columns)


def _no_batches(name: str, columns: Sequence[str]) -> Iterator[Any]:
    return iter(())


def _read_by(text: str) -> Wanted:
    """The columns that DuckDB's plan of a statement reads; all of them if there is not exactly one plan."""
    import duckdb

    if len(duckdb.extract_statements(text)) != 1:
        return every()
    with duckdb.connect(":memory:", config=_SETTINGS) as connection:
        _prepare(connection, _views(every(), _no_batches, {}, Regions({})))
        for name, columns in (("console", _CONSOLE), ("pauses", _PAUSES)):
            _add(connection, name, schema(columns).empty_table())
        connection.execute(_LOCK)
        rows = connection.execute(f"EXPLAIN (FORMAT json) {text}").fetchall()
        found = {name for row in rows for plan in json.loads(row[-1]) for name in _scanned(plan)}
    return {view: [name for name in names if name in found] or names[:1] for view, names in every().items()}


def _scanned(node: Mapping[str, Any]) -> Iterator[str]:
    """The words in a plan's scans; the names of the columns that they read are among them."""
    if "SCAN" in node["name"]:
        for told in node.get("extra_info", {}).values():
            yield from re.findall(r"\w+", str(told))
    for child in node["children"]:
        yield from _scanned(child)


def _prepare(connection: Any, rows: Mapping[str, "_Rows"]) -> None:
    for name, one in rows.items():
        connection.register(f"recorded_{name}", one)
        columns = (f'"{c}"' if c in one.wanted else _unread(c, one.types[c]) for c in one.types)
        connection.execute(f'CREATE VIEW "{name}" AS SELECT {", ".join(columns)} FROM "recorded_{name}"')
    for view, definition in VIEWS.items():
        connection.execute(f"CREATE VIEW {view} AS {definition}")


def _unread(name: str, type_: Any) -> str:
    """A column that DuckDB was not given: it has the name and the type, and reading it is an error."""
    import pyarrow as pa

    names = {"bool": "BOOLEAN", "binary": "BLOB", "int64": "BIGINT", "uint64": "UBIGINT", "uint32": "UINTEGER"}
    names |= {"uint16": "USMALLINT", "uint8": "UTINYINT", "int16": "SMALLINT", "int8": "TINYINT"}
    kind = "VARCHAR" if pa.types.is_dictionary(type_) else names[str(type_)]
    return f"error('{_UNREAD}')::{kind} AS \"{name}\""


def _add(connection: Any, name: str, rows: Any) -> None:
    """Add a view of a table that is made before the statement runs."""
    connection.register(f"made_{name}", rows)
    connection.execute(f"CREATE VIEW {name} AS SELECT * FROM made_{name}")


class _Rows:
    """The columns ``wanted`` of a table's rows. DuckDB reads them anew each time that a statement names them.

    ``batches`` returns batches of the given columns. Names stay dictionary codes, which DuckDB groups faster. ``types``
    has all columns of the view.
    """

    def __init__(self, table: Table, wanted: Sequence[str], batches: Callable[[Sequence[str]], Iterator[Any]]) -> None:
        import pyarrow as pa

        self.wanted = wanted
        self.failure: TraceError | None = None  # DuckDB reports errors of a stream as its own
        self.types = self._types(table)
        self._schema = pa.schema([pa.field(name, self.types[name]) for name in wanted])
        self._batches = batches

    def _types(self, table: Table) -> dict[str, Any]:
        return {column.name: column_type(column) for column in table.columns}

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """A stream of batches (the Arrow PyCapsule interface)."""
        import pyarrow as pa

        reader = pa.RecordBatchReader.from_batches(self._schema, self._stream())
        return reader.__arrow_c_stream__(requested_schema)

    def _stream(self) -> Iterator[Any]:
        try:
            yield from self._made()
        except TraceError as error:
            self.failure = error
            raise

    def _made(self) -> Iterator[Any]:
        """Batches of the schema."""
        import pyarrow as pa

        for batch in self._batches(self.wanted):
            yield pa.RecordBatch.from_arrays([batch[name] for name in self.wanted], schema=self._schema)


class _Exits(_Rows):
    """The exits, with the columns that are computed from theirs; ``machines`` is of a merged trace,
    ``regions`` are the devices'."""

    def __init__(
        self,
        wanted: Sequence[str],
        batches: Callable[[Sequence[str]], Iterator[Any]],
        machines: Mapping[int, str],
        regions: Regions,
    ) -> None:
        super().__init__(EXITS, wanted, batches)
        self._machines, self._regions = machines, regions

    def _types(self, table: Table) -> dict[str, Any]:
        import pyarrow as pa

        words = pa.dictionary(pa.int32(), pa.utf8())
        derived = {"handling_ns": pa.int64(), "what": words, "rw": words, "meaning": words, "value": words}
        return {**super()._types(table), **derived, "unclaimed": pa.bool_()}

    def _made(self) -> Iterator[Any]:
        import pyarrow as pa

        derived = [name for name in self.wanted if name in SOURCES]
        sources = {source for name in self.wanted for source in _SOURCES.get(name, (name,))}
        describer = Describer(self._machines, self._regions)
        for whole in self._batches([column.name for column in EXITS.columns if column.name in sources]):
            for batch in pieces(whole) if derived else (whole,):
                made = describer.columns(batch, derived)
                arrays = [made[name] if name in made else _column(batch, name) for name in self.wanted]
                yield pa.RecordBatch.from_arrays(arrays, schema=self._schema)


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


def _pauses(trace: Trace) -> Any:
    """The pauses of the machine, or of each machine of a merged trace, by time."""
    parts = machines(trace.metadata)
    of = {name: [vcpu for vcpu, one in parts.items() if one == name] for name in dict.fromkeys(parts.values())}
    spans = {name: pauses(trace, vcpus) for name, vcpus in of.items()} if of else {"": pauses(trace)}
    rows = [(name, start, end - start) for name, found in spans.items() for start, end in found]
    return table(_PAUSES, sorted(rows, key=lambda row: row[1]))


def schemas() -> dict[str, Any]:
    """The schemas of the views."""
    import pyarrow as pa

    known = {field.name: field for field in plain_schema(EXIT)}
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
    beside = {name: plain_schema(TABLES[name].columns) for name in BESIDE}
    return {
        TRACE: pa.schema([known[name] for name in COLUMNS]),
        **beside,
        **views,
        "console": schema(_CONSOLE),
        "pauses": schema(_PAUSES),
    }


def _with_units(table: Any) -> Any:
    """The table with a unit for each column whose name or type implies one. 128-bit sums become int64 if every value of
    the column is exact in JSON; else they stay decimals, which JSON has as strings."""
    import pyarrow as pa
    import pyarrow.compute as pc

    known = {(field.name, field.type): unit(field) for view in schemas().values() for field in view}
    fields, columns = [], []
    for field, column in zip(table.schema, table.columns, strict=True):
        if pa.types.is_decimal(column.type) and column.type.scale == 0:
            ends = pc.min_max(column).as_py()
            if ends["min"] is None or -EXACT <= ends["min"] <= ends["max"] <= EXACT:
                column = column.cast(pa.int64())  # noqa: PLW2901
        unit_ = known.get((field.name, column.type), "ns" if field.name.endswith("_ns") else "")
        if pa.types.is_uint64(column.type) and not unit_:
            unit_ = "hex"
        fields.append(pa.field(field.name, column.type, metadata={"unit": unit_}))
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))
