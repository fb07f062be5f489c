"""Every table of a trace, and one that is defined here only: its definition is all that the commands need."""

import csv
import json

import pyarrow.parquet
import pytest

import tracer
from tests.fakes.tablefakes import OTHER, known, rows_of, said, write_table
from tests.fakes.tracefakes import DEVICES, METADATA, numbered, record_all
from tracer.analysis.database import VIEWS, query
from tracer.cli import main
from tracer.commands.columns import schemas
from tracer.format.jsonvalues import records
from tracer.format.vocabulary import UNITS
from vmspec.trace import files, keys
from vmspec.trace.tables import TABLES

EVERY = [*TABLES.values(), OTHER]
BESIDE = [table for table in EVERY if table.name != files.TRACE]
each = pytest.mark.parametrize("table", EVERY, ids=lambda table: table.name)
each_beside = pytest.mark.parametrize("table", BESIDE, ids=lambda table: table.name)


@pytest.fixture(autouse=True)
def _known(monkeypatch):
    known(monkeypatch)


@pytest.fixture
def path(tmp_path):
    """A trace of two vCPUs with every table."""
    return recorded(tmp_path / "boot.arrow")


def recorded(path, clock=METADATA[keys.CLOCK], tables=BESIDE):
    record_all(
        path,
        [[numbered(vcpu, number) for number in range(5)] for vcpu in range(2)],
        summary={"rows": [5, 5], "duration_ns": 9000},
        metadata={keys.CLOCK: clock},
    )
    for table in tables:
        write_table(path, table, rows_of(table), metadata=said(table, clock))
    return path


def rows_in(path, table):
    return tracer.load(path).tables[table.name].table


@each_beside
def test_it_is_read(path, table):
    assert rows_in(path, table).to_pylist() == rows_of(table)


@each
@pytest.mark.parametrize("format_", ["csv", "json", "parquet"])
def test_it_is_exported(path, tmp_path, capsys, table, format_):
    suffix = {"json": "jsonl"}.get(format_, format_)
    name = f"boot.{suffix}" if table.name == files.TRACE else f"boot.{table.name}.{suffix}"
    assert main(["export", str(path), f"--{format_}", "--table", table.name]) == 0
    assert capsys.readouterr().err.startswith(f"{tmp_path / name}: ")
    rows = rows_in(path, table)
    match format_:
        case "csv":
            with (tmp_path / name).open() as file:
                found = list(csv.DictReader(file))
            plain = [
                {k: v.hex() if isinstance(v, bytes) else str(v) for k, v in row.items()} for row in rows.to_pylist()
            ]
            assert found == plain
        case "json":
            assert [json.loads(line) for line in (tmp_path / name).read_text().splitlines()] == records(rows)
        case "parquet":
            found = pyarrow.parquet.read_table(tmp_path / name)
            assert found.to_pylist() == rows.to_pylist()
            assert found.schema.metadata[b"vmrun.format"].decode() == table.format


@each_beside
def test_the_export_of_another_says_that_it_is_there(path, capsys, table):
    assert main(["export", str(path), "--csv"]) == 0
    assert f"the {table.what} are not included: --table {table.name} writes them" in capsys.readouterr().err


@each_beside
def test_one_of_another_run_is_not_told_of(path, tmp_path, capsys, table):
    other = tmp_path / "other.arrow"
    recorded(other, '{"tsc_start": 1, "tsc_khz": 1}', tables=())
    files.table_path(path, table.name).rename(files.table_path(other, table.name))
    assert main(["export", str(other), "--csv"]) == 0
    assert "not included" not in capsys.readouterr().err
    assert main(["summary", str(other)]) == 0
    assert "vmtrace tracepoints" not in capsys.readouterr().out


@each
@pytest.mark.parametrize("suffix", [".arrow", ".arrows", ".parquet"])
def test_it_is_converted_there_and_back(path, tmp_path, capsys, table, suffix):
    source = files.table_path(path, table.name)
    assert main(["convert", str(source), str(tmp_path / f"other{suffix}")]) == 0
    assert main(["convert", str(tmp_path / f"other{suffix}"), str(tmp_path / "back.arrow")]) == 0
    before, rows = tracer.TableFile(source), rows_in(path, table)
    back = tracer.TableFile(tmp_path / "back.arrow")
    assert back.definition is table
    assert back.table.equals(rows)
    assert (back.metadata, back.summary) == (before.metadata, before.summary)
    assert "rows" in capsys.readouterr().out


@each
def test_it_is_a_view_by_its_name(path, table):
    found = query(tracer.load(path), f'SELECT * FROM "{table.name}"')
    names = [column.name for column in table.columns]
    assert found.select(names).to_pylist() == rows_in(path, table).to_pylist()
    listed = schemas()["sql"][table.name]
    assert found.schema.names == listed.names
    units = {field.name: field.metadata[b"unit"] for field in found.schema}
    assert {column.name: units[column.name].decode() for column in table.columns} == {
        column.name: column.unit for column in table.columns
    }
    for column in table.columns:
        assert column.unit in ("", *UNITS)
        assert listed.field(column.name).metadata[b"doc"].decode() == column.doc


@each_beside
def test_only_the_columns_that_a_statement_reads_are_unpacked(path, monkeypatch, table):
    trace = tracer.load(path)
    opened = trace.tables[table.name]
    seen, batches = [], opened.batches
    monkeypatch.setattr(opened, "batches", lambda names: seen.append(list(names)) or batches(names))
    assert query(trace, f'SELECT max("{table.time}") AS t FROM {table.name}').to_pylist() == [{"t": 8000}]
    assert seen == [[table.time]]


def test_tables_are_joined(path):
    text = "SELECT count(*)::INT AS n FROM exits JOIN other ON exits.seq = other.size AND exits.vcpu = other.vcpu"
    found = query(tracer.load(path), text).to_pylist()
    both = [(row["seq"], row["vcpu"]) for row in tracer.load(path).table.to_pylist()]
    assert found == [{"n": sum((row["size"], row["vcpu"]) in both for row in rows_of(OTHER))}]


@each_beside
def test_a_statement_over_a_table_that_was_not_recorded_says_how_to(tmp_path, table):
    path = recorded(tmp_path / "boot.arrow", tables=())
    with pytest.raises(tracer.TraceError, match=f"no {table.what} beside .*: record them with {table.switch} = true"):
        query(tracer.load(path), f"SELECT count(*) FROM {table.name}")
    assert query(tracer.load(path), "SELECT count(*)::INT AS n FROM exits").to_pylist() == [{"n": 10}]


@each_beside
def test_a_table_that_is_damaged_is_no_other_s_concern(path, table):
    files.table_path(path, table.name).write_bytes(b"ARROW1" + bytes(99))
    assert query(tracer.load(path), "SELECT count(*)::INT AS n FROM exits").to_pylist() == [{"n": 10}]
    with pytest.raises(tracer.TraceError, match=str(files.table_path(path, table.name))):
        query(tracer.load(path), f"SELECT count(*) FROM {table.name}")


@each
def test_no_view_has_its_name(table):
    assert table.name not in (*VIEWS, "console", "lines")


@each_beside
def test_it_is_counted(path, capsys, table):
    assert main(["info", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tables"][table.name] == {"rows": 9, "complete": True}
    assert main(["info", str(path)]) == 0
    assert [table.name, "9 rows, complete"] in [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]


@each
def test_its_columns_are_listed(capsys, table):
    assert main(["columns", "sql", "--json"]) == 0
    listed = [row for row in json.loads(capsys.readouterr().out)["columns"] if row["table"] == table.name]
    assert {column.name for column in table.columns} <= {row["column"] for row in listed}


def merged(tmp_path):
    """Two traces with every table, merged; the second machine started 2 us later."""
    clock = json.loads(METADATA[keys.CLOCK])
    later = json.dumps(clock | {"tsc_start": clock["tsc_start"] + 2 * clock["tsc_khz"] // 1000})
    one, two = recorded(tmp_path / "one.arrow"), recorded(tmp_path / "two.arrow", later)
    assert main(["merge", str(one), str(two), "-o", str(tmp_path / "both.arrow")]) == 0
    return tmp_path / "both.arrow"


@each_beside
def test_it_is_merged(tmp_path, capsys, table):
    both = tracer.load(merged(tmp_path))
    assert f"{tmp_path}/both.{table.name}.arrow: 18 rows" in capsys.readouterr().out
    found = both.tables[table.name]
    expected = [
        {column.name: moved(column, row[column.name], machine) for column in table.columns}
        for machine in range(2)
        for row in rows_of(table)
    ]
    assert found.table.to_pylist() == sorted(expected, key=lambda row: row[table.time])
    assert (found.complete, found.summary["rows"]) == (True, 18)
    assert found.metadata[keys.CLOCK] == both.metadata[keys.CLOCK]
    assert main(["info", str(tmp_path / "both.arrow")]) == 0


@pytest.mark.parametrize("command", ["merge", "convert"])
def test_none_is_of_the_trace_that_another_one_replaces(tmp_path, command):
    """Both merged traces have the clock of the earlier machine, and only the first has tables."""
    both, source = merged(tmp_path), tmp_path / "sources"
    source.mkdir()
    other = both if command == "merge" else source / "other.arrow"
    bare = [str(recorded(source / f"{name}.arrow", tables=())) for name in ("one", "three")]
    assert main(["merge", *bare, "-o", str(other)]) == 0
    if command == "convert":
        assert main(["convert", str(other), str(both)]) == 0
    for table in BESIDE:
        assert table.name not in tracer.load(both).tables
        assert files.table_path(both, table.name).exists() == (command == "convert")


def test_merging_leaves_what_a_run_may_still_write_or_a_killed_one_has_left(tmp_path):
    bare = [str(recorded(tmp_path / f"{name}.arrow", tables=())) for name in ("one", "three")]
    stream = files.table_stream_path(tmp_path / "both.arrow", "inputs")
    stream.write_bytes(b"a stream")
    assert main(["merge", *bare, "-o", str(tmp_path / "both.arrow")]) == 0
    assert stream.read_bytes() == b"a stream"


def moved(column, value, machine):
    """A value of a source as the merged table has it; the second source's times are 1,999 ns later, rounded down."""
    if column.names is not None and column.names.key == keys.DEVICES and value != "-":
        return f"{('one', 'two')[machine]}/{value}"
    if column.name == "vcpu":
        return value + 2 * machine
    return value + machine * 1_999 if column.type == "int64" else value


def test_what_summaries_count_by_vcpu_is_joined(tmp_path):
    for name, lost, way in (("one", [1, 0], 2), ("two", [0, 3], 2)):
        path = recorded(tmp_path / f"{name}.arrow", tables=())
        write_table(path, OTHER, rows_of(OTHER), summary={"rows": 9, "lost": lost, "way": way})
    assert main(["merge", str(tmp_path / "one.arrow"), str(path), "-o", str(tmp_path / "both.arrow")]) == 0
    found = tracer.load(tmp_path / "both.arrow").tables["other"]
    assert found.summary == {"rows": 18, "lost": [1, 0, 0, 3], "way": 2, "complete": True}


def test_what_only_some_have_is_merged_too(tmp_path):
    one = recorded(tmp_path / "one.arrow")
    two = recorded(tmp_path / "two.arrow", tables=())
    assert main(["merge", str(one), str(two), "-o", str(tmp_path / "both.arrow")]) == 0
    found = tracer.load(tmp_path / "both.arrow").tables["other"]
    assert found.table.num_rows == 9
    assert found.names["device"] == ("-", *(f"one/{device}" for device in DEVICES))


def test_a_merge_does_not_overwrite_a_table_that_it_reads(path, tmp_path, capsys):
    other = recorded(tmp_path / "x.arrow", tables=())
    files.table_path(path, "other").rename(tmp_path / "kept")
    files.table_path(path, "other").symlink_to(tmp_path / "kept")
    (tmp_path / "both.other.arrow").symlink_to(tmp_path / "kept")
    before = (tmp_path / "kept").read_bytes()
    assert main(["merge", str(path), str(other), "-o", str(tmp_path / "both.arrow")]) == 2
    assert "would overwrite" in capsys.readouterr().err
    assert (tmp_path / "kept").read_bytes() == before


@each_beside
def test_what_a_killed_run_left_of_it_is_recovered(path, tmp_path, capsys, table):
    main(["convert", str(files.table_path(path, table.name)), str(files.table_stream_path(path, table.name))])
    files.table_path(path, table.name).unlink()
    path.rename(files.stream_path(path))
    capsys.readouterr()
    assert main(["recover", str(path), "-o", str(tmp_path / "saved.arrow")]) == 0
    assert f"{tmp_path}/saved.{table.name}.arrow: 9 rows" in capsys.readouterr().out
    assert rows_in(tmp_path / "saved.arrow", table).to_pylist() == rows_of(table)
