"""One flipped bit anywhere in a trace is an error, the same in every command, or changes nothing that is read."""

import io
import os
import warnings
from contextlib import redirect_stderr, redirect_stdout

import pyarrow as pa
import pytest

import tracer
from tests.fakes.tracefakes import numbered, record_all
from tracer.cli import main
from tracer.export.convert import convert
from tracer.format.errors import TraceError, TraceWarning

STEP = 11  # bytes from one flip to the next; each time another bit
COMMANDS = {
    "info": [],
    "summary": [],
    "timeline": [],
    "hot": [],
    "report": ["-o", "OUT.html"],
    "events": [],
    "events --limit": ["--limit", "1"],
    "events --last": ["--last", "1"],
    "events --where": ["--where", "size > 1"],
    "sql": ["select 1"],
    "console": [],
    "tracepoints": [],
    "diff": ["GOOD"],
    "export --perfetto": ["-o", "OUT.pftrace"],
    "export --chrome": ["-o", "OUT.json"],
    "export --collapsed": ["-o", "OUT.folded"],
    "export --parquet": ["-o", "OUT.parquet"],
    "export --csv": ["-o", "OUT.csv"],
    "export --pcap": ["-o", "OUT.pcapng"],
    "merge": ["GOOD", "-o", "OUT.arrow"],
    "convert": ["OUT.arrows"],
}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A finished trace and its stream, of several batches with payloads each."""
    folder = tmp_path_factory.mktemp("good")
    records = [[numbered(vcpu, number) for number in range(40)] for vcpu in range(2)]
    record_all(folder / "good.arrow", records, summary={"rows": [40, 40]})
    convert(folder / "good.arrow", folder / "whole.arrows")
    trace = tracer.load(folder / "good.arrow")
    from tracer.record.rewrite import empty, summary_metadata
    from tracer.record.stream import StreamWriter

    writer = StreamWriter(folder / "stream.arrows", trace.schema)
    (batch,) = trace.batches()
    for start in range(0, 80, 27):
        writer.write(batch.slice(start, 27))
    writer.write(empty(trace.schema), summary_metadata({"rows": [40, 40]}))
    writer.close()
    return folder


def flipped(content, step=STEP, ends=400):
    """The content with one bit flipped: at each ``step``-th byte, and at each of the last ones."""
    for at in [*range(0, len(content) - ends, step), *range(len(content) - ends, len(content))]:
        damaged = bytearray(content)
        damaged[at] ^= 1 << (at // step if at < len(content) - ends else at) % 8
        yield at, bytes(damaged)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["good.arrow", "stream.arrows"])
def test_a_flipped_bit_is_an_error_or_changes_nothing(tmp_path, good, kind):
    content = (good / kind).read_bytes()
    whole = tracer.load(good / kind)
    refused = harmless = 0
    for at, damaged in flipped(content):
        (tmp_path / "x").write_bytes(damaged)
        try:
            trace = tracer.load(tmp_path / "x")
        except TraceError:
            refused += 1
            continue
        same = trace.table.equals(whole.table) and trace.schema.equals(whole.schema, check_metadata=True)
        assert (same, trace.summary) == (True, whole.summary), f"byte {at} of {len(content)}"
        harmless += 1  # a footer says twice what it says, and much is padding
    assert refused > 10 * harmless


@pytest.mark.parametrize("end", [1, 9, 300])
def test_a_flipped_bit_of_a_killed_run_s_stream_is_no_cut_end(tmp_path, good, end):
    content = (good / "stream.arrows").read_bytes()[:-end]
    (tmp_path / "x").write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TraceWarning)
        whole = tracer.load(tmp_path / "x").table
        for at, damaged in flipped(content[:-600], ends=0):
            (tmp_path / "x").write_bytes(damaged + content[-600:])
            try:
                assert tracer.load(tmp_path / "x").table.equals(whole), f"byte {at} of {len(content)}"
            except TraceError:
                pass


def run(command, trace, good, folder):
    """Exit status and messages of a command."""
    words = command.split()
    names = {"GOOD": str(good / "good.arrow")}
    extra = [names.get(word, word.replace("OUT", str(folder / "out"))) for word in COMMANDS[command]]
    err = io.StringIO()
    out = io.TextIOWrapper(io.BytesIO())
    flags = words[1:] if words[0] == "export" else []
    with redirect_stderr(err), redirect_stdout(out):
        status = main([words[0], *flags, str(trace), *extra])
    return status, err.getvalue()


def places(content):
    """Where in a stream each kind of thing stands: names and first bytes."""
    return {
        "schema": content.index(b"vmrun.spec") + 2,
        "names": content.index(b"debug-port0", content.index(b"ap_reset_hold") - 2000) + 1,
        "first batch": content.index(b"vmrun.crc32") - 40,
        "seal": content.index(b"vmrun.crc32") - 3,
        "body": content.index(b"vmrun.crc32") + 700,
        "last but one": content.rindex(b"\xff\xff\xff\xff", 0, content.rindex(b"vmrun.summary")) + 4,
    }


@pytest.mark.parametrize("what", ["schema", "names", "first batch", "seal", "body", "last but one"])
def test_every_command_says_the_same(tmp_path, good, what):
    content = bytearray((good / "stream.arrows").read_bytes())
    at = places(bytes(content))[what]
    if what == "last but one":  # a length: a longer one looks as if the file were cut
        length = int.from_bytes(content[at : at + 4], "little")
        content[at : at + 4] = (length & length - 1).to_bytes(4, "little")
    else:
        content[at] ^= 1 << 4
    (tmp_path / "bad.arrows").write_bytes(content)
    told = {command: run(command, tmp_path / "bad.arrows", good, tmp_path) for command in COMMANDS}
    assert len(set(told.values())) == 1, told
    assert told["info"][0] == 2
    assert "is damaged: at byte" in told["info"][1]
    assert [path.name for path in tmp_path.iterdir()] == ["bad.arrows"]


def test_every_command_tells_of_a_cut_end(tmp_path, good):
    (tmp_path / "cut.arrows").write_bytes((good / "stream.arrows").read_bytes()[:-1500])
    for command in COMMANDS:
        if command != "tracepoints":  # it has no second table
            status, said = run(command, tmp_path / "cut.arrows", good, tmp_path)
            assert (status, said.count("ends within a batch")) == (status if command == "diff" else 0, 1), command


def test_a_batch_that_would_unpack_to_much_more(tmp_path, good):
    """64 MiB of zeros in a few KiB."""
    trace = tracer.load(good / "good.arrow")
    (batch,) = trace.batches()
    table = pa.Table.from_batches([batch.slice(0, 1)] * 3000).combine_chunks()
    payload = pa.array([bytes(60_000)] * 3000, pa.binary())
    table = table.set_column(table.column_names.index("payload"), trace.schema.field("payload"), payload)
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(str(tmp_path / "x"), trace.schema, options=options) as writer:
        writer.write_table(table)
    assert (tmp_path / "x").stat().st_size < 60_000
    with pytest.raises(TraceError, match="would unpack to 180,"):
        tracer.load(tmp_path / "x")


def test_a_dictionary_without_end(tmp_path, good):
    trace = tracer.load(good / "good.arrow")
    (batch,) = trace.batches()
    index = batch.schema.get_field_index("device")
    names = pa.array(["-", *(str(number) for number in range(40_000))])
    array = pa.DictionaryArray.from_arrays(pa.array([0] * batch.num_rows, pa.int16()), names)
    with pa.ipc.new_stream(str(tmp_path / "x"), trace.schema) as writer:
        writer.write_batch(batch.set_column(index, trace.schema.field("device"), array))
    with pytest.raises(TraceError, match="a dictionary of 40,001 names"):
        tracer.load(tmp_path / "x")


def test_a_file_that_is_another_one_now(tmp_path, good):
    (tmp_path / "x").write_bytes((good / "good.arrow").read_bytes())
    trace = tracer.load(tmp_path / "x")
    (tmp_path / "y").write_bytes((good / "good.arrow").read_bytes())
    (tmp_path / "y").replace(tmp_path / "x")
    with pytest.raises(TraceError, match="was replaced after it was opened"):
        _ = trace.table


@pytest.mark.parametrize("command", ["info", "top", "recover", "convert"])
def test_a_fifo_without_a_writer(tmp_path, capsys, command):
    for name in ("x.arrow", "x.arrows", "x.ring"):
        os.mkfifo(tmp_path / name)
    extra = [str(tmp_path / "out.csv")] if command == "convert" else []
    assert main([command, str(tmp_path / "x.arrow"), *extra]) == 2
    assert "it is not a regular file" in capsys.readouterr().err


def test_a_closing_batch_that_is_a_slice_of_a_large_one(tmp_path, good):
    """Arrow writes the offsets of all rows of the one that was sliced."""
    trace = tracer.load(good / "good.arrow")
    (batch,) = trace.batches()
    large = pa.Table.from_batches([batch.slice(0, 1)]).take(pa.array([0] * 400_000)).combine_chunks().to_batches()[0]
    with pa.ipc.new_file(str(tmp_path / "x"), trace.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as out:
        out.write_batch(batch)
        out.write_batch(large.slice(0, 0), custom_metadata={"vmrun.summary": "{}"})
    assert tracer.load(tmp_path / "x").complete
