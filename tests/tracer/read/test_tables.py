"""Any table beside the exits: its definition is enough for writing, reading and recovering it."""

import pyarrow as pa
import pytest

import tracer
from tests.fakes.tablefakes import OTHER, known, rows_of, said
from tests.fakes.tracefakes import DEVICES, exit_, record_all
from tracer.format import paths
from tracer.format.closing import KINDS
from tracer.format.errors import TraceError
from tracer.format.schema import STORED, table_of
from tracer.read import follow, reader
from tracer.read.tablefile import TableFile
from tracer.record.writer import TableWriter
from vmspec.trace import files, keys
from vmspec.trace.record import EXITS
from vmspec.trace.table import TIME, VCPU
from vmspec.trace.tables import TABLES

SAID = said(OTHER)
ROWS = rows_of(OTHER, 3)


@pytest.fixture(autouse=True)
def _known(monkeypatch):
    known(monkeypatch)


@pytest.fixture
def path(tmp_path):
    record_all(tmp_path / "boot.arrow", [[exit_(1)]])
    return tmp_path / "boot.arrow"


def write(path, metadata=SAID):
    """The table beside a trace, not yet closed; the rows come last first."""
    writer = TableWriter(path, OTHER, metadata)
    for row in reversed(ROWS):
        writer.append([row])
    return writer


@pytest.mark.parametrize("table", [*TABLES.values(), OTHER], ids=lambda table: table.name)
def test_a_definition_is_whole(table):
    names = [column.name for column in table.columns]
    assert len(set(names)) == len(names)
    assert {column.type for column in table.columns} <= set(STORED)
    assert sum(column.type == "binary" for column in table.columns) <= 1
    assert next(column.type for column in table.columns if column.name == table.time) == "int64"
    assert keys.CLOCK in table.metadata
    for column in table.columns:
        assert (column.type == TIME) == (column.unit == "ns"), column
        assert column.name != VCPU or column.type == "uint16"
    assert set(table.summary.values()) <= set(KINDS)


def test_the_tables_beside_the_exits_are_those_of_the_files(monkeypatch):
    monkeypatch.undo()
    assert [files.TRACE, *files.BESIDE] == list(TABLES)
    assert len({table.format for table in TABLES.values()}) == len(TABLES)


def test_a_table_comes_back_in_the_order_of_time(path):
    writer = write(path)
    assert writer.finish({"rows": writer.rows, "lost": [0, 2]}) == path.with_name("boot.other.arrow")
    table = tracer.load(path).tables["other"]
    assert table.table.to_pylist() == ROWS
    assert (table.complete, table.summary["rows"], table.lost) == (True, 3, [0, 2])
    assert table.names == {"kind": ("none", "byte"), "device": ("-", *DEVICES)}
    assert not writer.stream.exists()


def test_what_is_left_out_of_a_row_is_zero_or_empty(path):
    writer = TableWriter(path, OTHER, SAID)
    writer.append([{"at": 1}, {"moved": b"xy"}, {}])
    writer.finish({})
    rows = tracer.load(path).tables["other"].table.to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        (0, "none", "-", 0, b"xy", 0, 0),
        (0, "none", "-", 0, b"", 0, 0),
        (1, "none", "-", 0, b"", 0, 0),
    ]


def test_the_tables_of_a_trace_are_those_that_are_there(path):
    assert [*tracer.load(path).tables] == ["exits"]
    write(path).finish({})
    trace = tracer.load(path)
    assert ([*trace.tables], trace.tables["exits"] is trace, trace.tables.get("tracepoints")) == (
        ["exits", "other"],
        True,
        None,
    )


def test_a_table_of_another_run_is_not_taken(path):
    write(path, SAID | {keys.CLOCK: '{"tsc_start": 1}'}).finish({})
    assert tracer.load(path).tables.get("other") is None


def test_the_stream_of_a_killed_run_is_read_and_recovered(path, tmp_path):
    writer = write(path)
    writer.cut()
    running = tracer.load(path).tables["other"]
    assert (running.kind, running.complete, running.table.num_rows) == ("stream", False, 3)
    path.rename(files.stream_path(path))
    tracer.recover(path, tmp_path / "saved.arrow")
    saved = tracer.load(tmp_path / "saved.arrow").tables["other"]
    assert (saved.kind, saved.complete, saved.summary) == ("file", False, {"complete": False})
    assert saved.table.to_pylist() == ROWS


def test_what_a_killed_run_left_is_set_aside(path):
    write(path).cut()
    paths.set_aside(path)
    assert files.table_stream_path(files.killed_path(path), "other").exists()


def test_each_reader_refuses_the_tables_of_others(path):
    write(path).finish({})
    other = files.table_path(path, "other")
    with pytest.raises(TraceError, match="has other things, not exits: give the trace beside it"):
        tracer.load(other)
    with pytest.raises(TraceError, match="has exits, not other things"):
        TableFile(path, OTHER)


@pytest.mark.parametrize(("key", "text"), [(keys.DEVICES, "[1]"), (keys.DEVICES, "x"), (keys.CLOCK, "[]")])
def test_metadata_that_is_damaged_is_told(path, tmp_path, key, text):
    write(path).finish({})
    table = tracer.load(path).tables["other"].table
    table = table.replace_schema_metadata({**table.schema.metadata, key.encode(): text.encode()})
    with pa.ipc.new_stream(str(tmp_path / "x"), table.schema) as out:
        out.write_table(table)
    with pytest.raises(TraceError, match=f"{key}( in the metadata)? is damaged"):
        TableFile(tmp_path / "x", OTHER)


def older(path, tmp_path, *without):
    """The trace as a release before the columns ``without`` wrote it, or one of later, with a column of its own."""
    trace = tracer.load(path)
    table = trace.table.drop_columns(list(without)) if without else trace.table.append_column("new", trace.table["seq"])
    with pa.ipc.new_stream(str(tmp_path / "x.arrows"), table.schema) as out:
        out.write_table(table)
    return tmp_path / "x.arrows"


@pytest.fixture
def later(monkeypatch):
    """The columns rip, device and payload came later than the others."""
    late = tuple(c._replace(later=c.name in ("rip", "device", "payload")) for c in EXITS.columns)
    for module in (reader, follow):
        monkeypatch.setattr(module, "EXITS", EXITS._replace(columns=late))


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("opened", [tracer.load, follow.follow])
def test_a_trace_without_a_later_column_is_read(path, tmp_path, opened):
    record_all(path, [[exit_(1, rip=7), exit_(2, data=b"123456789")]])
    whole = tracer.load(path).table.to_pylist()
    trace = opened(older(path, tmp_path, "rip", "device", "payload"))
    rows = [row for batch in trace.batches() for row in batch.to_pylist()]
    assert rows == [row | {"rip": 0, "device": "-", "payload": b""} for row in whole]
    assert trace.schema.names == [column.name for column in EXITS.columns]


@pytest.mark.usefixtures("later")
def test_only_the_columns_that_are_wanted_are_made(path, tmp_path):
    trace = tracer.load(older(path, tmp_path, "rip", "device"))
    assert [batch.schema.names for batch in trace.batches(["seq", "rip", "addr"])] == [["seq", "rip", "addr"]]


def test_a_column_that_was_always_there_may_not_be_missing(path, tmp_path):
    with pytest.raises(TraceError, match="the columns of the table exits of format 1: it has no column rip"):
        tracer.load(older(path, tmp_path, "rip"))


def test_a_column_of_a_release_to_come_is_left_out(path, tmp_path):
    assert tracer.load(older(path, tmp_path)).table.equals(tracer.load(path).table)


def test_a_schema_tells_its_table(path):
    schema = tracer.load(path).schema
    assert (table_of(schema).name, schema.metadata[keys.FORMAT.encode()]) == ("exits", b"1")
