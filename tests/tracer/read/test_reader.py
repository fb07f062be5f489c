"""Reading: other programs see the same rows and names; other files and damaged traces are reported clearly."""

import warnings

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import tracer
from tests.fakes.tracefakes import DEVICES, METADATA, MUTATIONS, exit_, in_time, mutations, numbered, record_all
from tracer.analysis.hot import hot
from tracer.analysis.summary import summarise
from tracer.analysis.timeline import timeline
from tracer.format.errors import TraceError
from vmspec.trace.record import COLUMNS

NAMES = [column.name for column in COLUMNS]


@pytest.fixture
def trace(tmp_path):
    """A finished trace and the rows it has."""
    records = [[numbered(vcpu, number) for number in range(200)] for vcpu in range(2)]
    rows = record_all(tmp_path / "boot.arrow", records, summary={"rows": [200, 200]})
    return tmp_path / "boot.arrow", rows


def test_pandas_reads_the_file(trace):
    path, rows = trace
    frame = pd.read_feather(path)
    assert list(frame.columns) == NAMES
    assert in_time(frame.to_dict("records")) == rows
    assert isinstance(frame["reason"].dtype, pd.CategoricalDtype)


def test_polars_reads_the_file(trace):
    path, rows = trace
    assert in_time(pl.read_ipc(path).to_dicts()) == rows
    assert in_time(pl.scan_ipc(path).collect().to_dicts()) == rows


def test_duckdb_reads_the_file(trace):
    path, rows = trace
    boot = pa.ipc.open_file(str(path)).read_all()  # DuckDB queries the variable by its name
    found = duckdb.sql("select * from boot").fetchall()
    assert in_time(dict(zip(NAMES, row, strict=True)) for row in found) == rows
    assert boot.num_rows == len(found)


def test_to_pandas_has_names_as_categoricals(trace):
    frame = tracer.load(trace[0]).to_pandas()
    assert set(frame["device"].cat.categories) == {"-", *DEVICES}
    assert frame["device"].value_counts()["-"] == 100


def test_what_the_runner_said_is_there(trace):
    loaded = tracer.load(trace[0])
    assert loaded.metadata.items() >= METADATA.items()
    assert (loaded.spec, loaded.host) == ({"vm": {"name": "fake"}}, {"kernel": "6.1"})
    assert (loaded.summary, loaded.complete, loaded.devices) == ({"rows": [200, 200]}, True, tuple(DEVICES))


def test_batches_are_the_rows_of_the_table(trace):
    loaded = tracer.load(trace[0])
    assert [row for batch in loaded.batches() for row in batch.to_pylist()] == loaded.table.to_pylist()


def refuse(path, pattern):
    with pytest.raises(TraceError, match=pattern):
        _ = tracer.load(path).table


def test_a_missing_file(tmp_path):
    refuse(tmp_path / "boot.arrow", "cannot open .*No such file")


def test_a_directory(tmp_path):
    refuse(tmp_path, "cannot open .*Is a directory")


@pytest.mark.parametrize(
    ("content", "pattern"),
    [
        (b"", "is empty"),
        (b"PK\3\4", "not an Arrow file"),
        (b"VMRING1\0" + bytes(100), "ring file.*vmtrace recover"),
        (b"ARROW1", "cut short: its end is missing"),
        (b"ARROW1\0\0", "cut short: its end is missing"),
        (b"ARROW1\0\0ARROW1", "is damaged: "),
        (b"\xff\xff\xff\xff", "is cut off before the end of its schema"),
        (b"\xff\xff\xff\xff\x00\x00\x00\x00", "is damaged: at byte 0: there is no schema"),
        (b"\xff\xff\xff\xff\xff\xff\xff\x7f" + bytes(100), "is damaged: at byte 0: "),
    ],
)
def test_files_that_are_no_traces(tmp_path, content, pattern):
    (tmp_path / "x").write_bytes(content)
    refuse(tmp_path / "x", pattern)


def write(path, table):
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)


def test_arrow_files_of_others(tmp_path):
    write(tmp_path / "x", pa.table({"a": [1]}))
    refuse(tmp_path / "x", "not a trace of vmrun")


def test_a_newer_format(tmp_path):
    write(tmp_path / "x", pa.table({"a": [1]}).replace_schema_metadata({"vmrun.format": "2"}))
    refuse(tmp_path / "x", "trace format '2'.*reads format 1")


def test_other_columns(tmp_path):
    metadata = {"vmrun.format": "1", "vmrun.devices": "[]"}
    write(tmp_path / "x", pa.table({"a": [1]}).replace_schema_metadata(metadata))
    refuse(tmp_path / "x", "does not have the columns")


def test_every_truncation_of_a_file_is_refused(tmp_path, trace):
    content = trace[0].read_bytes()
    for size in range(0, len(content), len(content) // 50):
        (tmp_path / "x").write_bytes(content[:size])
        refuse(tmp_path / "x", "empty|not an Arrow|cut short")


def stream_of(tmp_path):
    """The stream of a run, in many batches."""
    (tmp_path / "s.arrow").mkdir()
    with pytest.raises(TraceError):
        record_all(tmp_path / "s.arrow", [[numbered(v, n) for n in range(20)] for v in range(4)], merge=False)
    return (tmp_path / "s.arrows").read_bytes()


def test_every_truncation_of_a_stream_gives_its_whole_batches(tmp_path):
    content = stream_of(tmp_path)
    seen = set()
    for size in range(len(content) - 1, 0, -97):
        (tmp_path / "x").write_bytes(content[:size])
        try:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                loaded = tracer.load(tmp_path / "x")
        except TraceError:
            break  # the schema itself is cut
        assert bool(told) == (loaded.cut > 0 and not loaded.complete)
        assert loaded.complete == (size > len(content) - 9)  # but for the end marker, which says nothing
        seen.add(loaded.table.num_rows)
    assert seen == {0, 20, 40, 60, 80}


def use(path):
    """Everything that reads a trace."""
    loaded = tracer.load(path)
    _ = loaded.spec, loaded.host, loaded.complete
    summarise(loaded)
    timeline(loaded)
    hot(loaded)
    loaded.console()
    _ = loaded.table


@pytest.mark.parametrize("kind", ["file", "stream", "uncompressed"])
def test_mutated_traces_are_read_or_refused(tmp_path, trace, kind):
    if kind == "uncompressed":
        table = tracer.load(trace[0]).table
        write(tmp_path / "plain", table)
        content = (tmp_path / "plain").read_bytes()
    else:
        content = trace[0].read_bytes() if kind == "file" else stream_of(tmp_path)
    refused = 0
    for mutated in mutations(content, MUTATIONS):
        (tmp_path / "x").write_bytes(mutated)
        try:
            use(tmp_path / "x")
        except TraceError:
            refused += 1
    assert refused > MUTATIONS // 20


def test_codes_without_a_name_are_refused(tmp_path):
    record_all(tmp_path / "boot.arrow", [[exit_(t) for t in range(3)]])
    table = tracer.load(tmp_path / "boot.arrow").table.combine_chunks()
    bad = pa.DictionaryArray.from_arrays(pa.array([0, 1, 99], pa.int16()), pa.array(["-"]), safe=False)
    index = table.column_names.index("device")
    write(tmp_path / "x", table.set_column(index, table.schema.field(index), bad))
    refuse(tmp_path / "x", "damaged")


@pytest.mark.parametrize(
    "spec", ["a" + ".a" * 40_000 + " = 1", "x = " + "[" * 50_000, "x = '", "[vm]\nname = 1\n[vm]\n"]
)
def test_a_spec_that_is_none_is_damage(tmp_path, trace, spec):
    table = tracer.load(trace[0]).table
    metadata = {**table.schema.metadata, b"vmrun.spec": spec.encode()}
    write(tmp_path / "x", table.replace_schema_metadata(metadata))
    refuse(tmp_path / "x", "vmrun.spec in the metadata is not TOML")


@pytest.mark.parametrize("key", ["vmrun.host", "vmrun.clock"])
@pytest.mark.parametrize("text", ["[]", "{", "[" * 100_000, '{"a": "\\ud800"}'])
def test_facts_that_are_none_are_damage(tmp_path, trace, key, text):
    table = tracer.load(trace[0]).table
    write(tmp_path / "x", table.replace_schema_metadata({**table.schema.metadata, key.encode(): text.encode()}))
    refuse(tmp_path / "x", f"{key} is damaged")
