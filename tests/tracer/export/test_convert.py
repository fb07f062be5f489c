"""``vmtrace convert``: there and back without loss, and what cannot be converted."""

import csv

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.tracefakes import numbered, record_all
from tracer import TraceError, load
from tracer.cli import main
from tracer.export.convert import convert
from vmspec.trace import keys

ROWS = 60


@pytest.fixture
def path(tmp_path):
    records = [[numbered(vcpu, number) for number in range(ROWS // 2)] for vcpu in range(2)]
    record_all(tmp_path / "boot.arrow", records, summary={"rows": [30, 30], "duration_ns": 5})
    return tmp_path / "boot.arrow"


def same(path, other):
    one, two = load(path), load(other)
    assert two.table.equals(one.table)
    assert two.schema.equals(one.schema, check_metadata=True)
    assert two.summary == one.summary


@pytest.mark.parametrize("suffix", [".arrow", ".feather", ".arrows", ".parquet"])
def test_there_and_back(tmp_path, path, suffix):
    assert convert(path, tmp_path / f"other{suffix}") == ROWS
    assert convert(tmp_path / f"other{suffix}", tmp_path / "back.arrow") == ROWS
    same(path, tmp_path / "back.arrow")


def test_parquet_keeps_what_a_run_that_goes_on_has(tmp_path, path):
    trace = load(path)
    with pa.OSFile(str(tmp_path / "cut.arrows"), "wb") as sink, pa.ipc.new_stream(sink, trace.schema) as writer:
        for batch in trace.batches():
            writer.write_batch(batch)
    convert(tmp_path / "cut.arrows", tmp_path / "cut.parquet")
    convert(tmp_path / "cut.parquet", tmp_path / "back.arrows")
    assert load(tmp_path / "back.arrows").summary is None
    convert(tmp_path / "cut.parquet", tmp_path / "back.arrow")
    assert not load(tmp_path / "back.arrow").complete


def test_a_stream_that_grows_meanwhile(tmp_path, path):
    """The rows are those that were there at first: an ordered copy needs two passes that agree."""
    convert(path, tmp_path / "out.arrows")
    whole = (tmp_path / "out.arrows").read_bytes()
    (tmp_path / "out.arrows").write_bytes(whole[:-8])  # without its end
    trace = load(tmp_path / "out.arrows")
    with (tmp_path / "out.arrows").open("ab") as more:
        more.write(whole[whole.index(b"\xff\xff\xff\xff", 8) :])
    assert trace.table.num_rows == ROWS


def test_csv_has_names_and_hexadecimal(tmp_path, path, capsys):
    assert main(["convert", str(path), str(tmp_path / "boot.csv")]) == 0
    assert "the metadata and the closing summary are not included" in capsys.readouterr().out
    with (tmp_path / "boot.csv").open() as file:
        rows = list(csv.DictReader(file))
    table = load(path).table.to_pylist()
    assert [row["reason"] for row in rows] == [row["reason"] for row in table]
    assert [bytes.fromhex(row["payload"]) for row in rows] == [row["payload"] for row in table]


@pytest.mark.parametrize("target", ["boot.txt", "boot", "no/boot.parquet", "boot.arrow"])
def test_a_target_that_cannot_be(tmp_path, path, target):
    with pytest.raises(TraceError):
        convert(path, tmp_path / target)
    assert [file.name for file in tmp_path.iterdir()] == ["boot.arrow"]


def test_a_source_that_is_no_trace(tmp_path, capsys):
    pyarrow.parquet.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    (tmp_path / "rows.csv").write_text("seq\n1\n")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1")
    for name in ("other.parquet", "rows.csv", "cut.parquet", "missing.arrow"):
        assert main(["convert", str(tmp_path / name), str(tmp_path / "out.arrow")]) == 2
    assert capsys.readouterr().err.count("vmtrace: ") == 4
    assert not (tmp_path / "out.arrow").exists()


def test_a_parquet_file_whose_metadata_is_damaged_makes_no_trace(tmp_path, path):
    convert(path, tmp_path / "boot.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "boot.parquet")
    damaged = table.replace_schema_metadata(table.schema.metadata | {keys.CLOCK.encode(): b"{"})
    pyarrow.parquet.write_table(damaged, tmp_path / "boot.parquet")
    with pytest.raises(TraceError, match=r"boot\.parquet: vmrun\.clock is damaged"):
        convert(tmp_path / "boot.parquet", tmp_path / "out.arrow")
    assert not (tmp_path / "out.arrow").exists()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A folder with a small trace as Parquet, and the contents of that file."""
    directory = tmp_path_factory.mktemp("parquet")
    record_all(directory / "boot.arrow", [[numbered(0, number) for number in range(20)]])
    convert(directory / "boot.arrow", directory / "boot.parquet")
    return directory, (directory / "boot.parquet").read_bytes()


@pytest.mark.long
@given(st.data())
def test_a_damaged_parquet_file_is_an_error_or_a_trace(small, data):
    directory, whole = small
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(4, len(content) - 1))] = data.draw(st.integers(0, 255))
    (directory / "boot.parquet").write_bytes(content)
    try:
        convert(directory / "boot.parquet", directory / "out.arrow")
    except TraceError:
        return
    load(directory / "out.arrow").table.validate(full=True)
