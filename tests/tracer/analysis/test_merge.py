"""``vmtrace merge``: one order, one numbering, and traces that cannot be merged."""

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import tracefakes
from tests.fakes.examples import DEAR
from tests.fakes.tracefakes import TSC_START, exit_, numbered, record_all
from tracer import TraceError, load
from tracer.analysis.account import account
from tracer.analysis.merge import machines, merge
from tracer.analysis.timeline import timeline
from tracer.analysis.where import compile
from tracer.cli import main
from tracer.show.events import described


@pytest.fixture
def record(tmp_path, monkeypatch):
    """Records a trace of a machine that started ``start`` ns after the others."""

    def made(name, records, start=0, khz=tracefakes.TSC_KHZ, host="6.1", machine=None):
        clock = json.dumps({"tsc_start": TSC_START + -(-start * khz // 1_000_000), "tsc_khz": khz})
        spec = f'[vm]\nname = "{machine or name}"\n'
        metadata = {"vmrun.spec": spec, "vmrun.host": json.dumps({"kernel": host}), "vmrun.clock": clock}
        monkeypatch.setattr(tracefakes, "METADATA", metadata)
        rows = [len(list_) for list_ in records]
        record_all(tmp_path / f"{name}.arrow", records, summary={"rows": rows, "duration_ns": 1000, "dropped": rows})
        return load(tmp_path / f"{name}.arrow")

    return made


def test_by_the_host_s_time(tmp_path, record):
    one = record("web", [[exit_(0), exit_(5000)], [exit_(9000)]])
    two = record("db", [[exit_(0, device="rtc0"), exit_(4000, device=None)]], start=2000)
    assert merge([one, two], tmp_path / "out.arrow") == {"exits": 5}
    merged = load(tmp_path / "out.arrow")
    assert [(row["t_exit"], row["vcpu"], row["seq"], row["device"]) for row in merged.table.to_pylist()] == [
        (0, 0, 0, "web/serial0"),
        (2000, 2, 0, "db/rtc0"),
        (5000, 0, 1, "web/serial0"),
        (6000, 2, 1, "-"),
        (9000, 1, 0, "web/serial0"),
    ]
    assert merged.devices[:1] + merged.devices[-1:] == ("web/serial0", "db/rtc0")
    assert merged.summary["rows"] == [2, 1, 2]
    assert merged.summary["duration_ns"] == 9100
    assert merged.complete
    assert merged.clock["tsc_start"] == TSC_START
    assert machines(merged.metadata) == {0: "web", 1: "web", 2: "db"}


def test_each_vcpu_keeps_its_account(tmp_path, record):
    """By the merged trace's clock; a machine that ended before the other has stopped."""
    one, two = record("web", [[exit_(0)], []]), record("db", [[exit_(9000)]], start=2000)
    one.summary |= {"start_ns": [10, 20], "stop_ns": [700, None], "open_ns": [None, 800]}
    one.summary["paused_ns"] = [250, 0]
    del two.summary["duration_ns"]
    merge([one, two], tmp_path / "out.arrow")
    found = account(load(tmp_path / "out.arrow"))
    parts = ("start_ns", "kvm_run_ns", "handling_ns", "paused_ns", "stopped_ns")
    assert (found.end, [[getattr(life, part) for part in parts] for life in found.vcpus.values()]) == (
        11_100,
        [[0, 350, 100, 250, 10_400], [20, 780, 200, 0, 10_100], [2000, 9000, 100, 0, 0]],
    )


def test_a_timeline_is_of_its_own_machine(tmp_path, record):
    web = record("web", [[exit_(1000, data=b"a\n"), exit_(3000, 3100, addr=0x70, device="rtc0")]])
    db = record("db", [[exit_(2000, data=b"b\n"), exit_(8000, 8500, addr=0x70, device="rtc0")]])
    merge([web, db], tmp_path / "out.arrow")
    columns = ["t_ns", "exits", "handling_ns"]
    for trace, device in ((web, "web/serial0"), (db, "db/serial0")):
        alone = timeline(trace).lines.select(columns)
        assert timeline(load(tmp_path / "out.arrow"), device).lines.select(columns) == alone


def test_a_timeline_of_what_was_merged_twice(tmp_path, record):
    web = record("web", [[exit_(1000, data=b"a\n"), exit_(3000, 3100, addr=0x70, device="rtc0")]])
    merge([web, record("db", [[exit_(2000)]])], tmp_path / "once.arrow")
    merge([load(tmp_path / "once.arrow"), record("x", [[exit_(5000)]])], tmp_path / "twice.arrow", by_start=True)
    assert timeline(load(tmp_path / "twice.arrow")).lines["t_ns"].to_pylist()[-1] > 0


def test_the_machines_stay_apart(tmp_path, record):
    """Registers have a state in each machine, and a device is found by its machine, its name and its kind."""
    one = record("web", [[exit_(0, addr=0x3FB, data=b"\x83"), exit_(5000, data=b"\x0c")]])
    two = record("db", [[exit_(1000, data=b"a")]])
    merge([one, two], tmp_path / "out.arrow")
    merged = load(tmp_path / "out.arrow")
    shown = described(merged.batches(), None, machines(merged.metadata))
    whats = [row["what"] for batch in shown for row in batch.to_pylist()]
    assert whats == ["COM1 LCR", "COM1 THR", "COM1 DLL"]
    counts = {"web/serial0": 2, "web/serial": 2, "db/serial0": 1, "serial0": 3, "serial": 3}
    for name, count in counts.items():
        filter_ = compile(f"device == {name!r}", merged)
        assert sum(filter_.apply(batch).num_rows for batch in merged.batches()) == count
    assert merged.console("db/serial0") == b"a"


def test_names_that_two_machines_have(tmp_path, record):
    one = record("first", [[exit_(0)]], machine="linux")
    two = record("second", [[exit_(0)]], machine="linux")
    merge([one, two, two], tmp_path / "out.arrow")
    assert set(machines(load(tmp_path / "out.arrow").metadata).values()) == {"first", "second-1", "second-2"}


@pytest.mark.parametrize(("what", "problem"), [({"khz": 1_000_000}, "rates"), ({"host": "6.2"}, "host differ")])
def test_different_hosts(tmp_path, record, what, problem):
    traces = [record("web", [[exit_(0)]]), record("db", [[exit_(7)]], start=10**9, **what)]
    with pytest.raises(TraceError, match=problem):
        merge(traces, tmp_path / "out.arrow")
    assert not (tmp_path / "out.arrow").exists()
    assert merge(traces, tmp_path / "out.arrow", by_start=True) == {"exits": 2}
    assert load(tmp_path / "out.arrow").table["t_exit"].to_pylist() == [0, 7]


@pytest.mark.long
@DEAR
@given(st.lists(st.lists(st.integers(0, 50), max_size=40), min_size=2, max_size=3))
def test_every_row_once_and_in_order(tmp_path_factory, times):
    directory = tmp_path_factory.mktemp("merge")
    traces = []
    for index, list_ in enumerate(times):
        path = directory / f"{index}.arrow"
        record_all(path, [[exit_(t, data=bytes([index])) for t in sorted(list_)]])
        traces.append(load(path))
    merge(traces, directory / "out.arrow")
    rows = load(directory / "out.arrow").table.to_pylist()
    assert [row["t_exit"] for row in rows] == sorted(t for list_ in times for t in list_)
    assert sorted((row["vcpu"], row["seq"]) for row in rows) == [
        (index, seq) for index, list_ in enumerate(times) for seq in range(len(list_))
    ]


def test_the_command(tmp_path, capsys):
    for name in ("a", "b"):
        record_all(tmp_path / f"{name}.arrow", [[numbered(0, number) for number in range(9)]])
    paths = [str(tmp_path / f"{name}.arrow") for name in ("a", "b")]
    assert main(["merge", *paths, "-o", str(tmp_path / "out.arrow")]) == 0
    assert capsys.readouterr().out.endswith("out.arrow: 18 rows of 2 traces\n")
    assert main(["merge", paths[0], "-o", str(tmp_path / "x.arrow")]) == 2
    assert main(["merge", *paths, "-o", paths[0]]) == 2
    assert main(["merge", *paths, "-o", str(tmp_path / "no" / "x.arrow")]) == 2
    assert capsys.readouterr().err.count("vmtrace: ") == 3
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.arrow", "b.arrow", "out.arrow"]


def put(path, trace, **columns):
    """A trace of one batch with some columns changed."""
    (batch,) = trace.batches()
    for name, values in columns.items():
        index = batch.schema.get_field_index(name)
        batch = batch.set_column(index, batch.schema.field(index), pa.array(values, batch.schema.field(index).type))
    with pa.ipc.new_file(str(path), trace.schema) as writer:
        writer.write_batch(batch)
    return path


def test_rows_that_are_out_of_order_in_their_batch(tmp_path, record):
    """As where a host's TSC runs back. It took for ever."""
    one, two = record("web", [[exit_(t) for t in range(4)]]), record("db", [[exit_(2)]])
    path = put(tmp_path / "odd.arrow", one, t_exit=[3, 0, 2, 1], t_entry=[3, 0, 2, 1])
    assert merge([load(path), two], tmp_path / "out.arrow") == {"exits": 5}
    assert load(tmp_path / "out.arrow").table["t_exit"].to_pylist() == [0, 1, 2, 2, 3]


@pytest.mark.parametrize("time", [(1 << 63) - 1, 1 << 62, -(1 << 62), -(1 << 63)])
def test_times_that_would_overflow_are_refused_by_all(tmp_path, record, time):
    path = put(tmp_path / "odd.arrow", record("web", [[exit_(0), exit_(1)]]), t_exit=[0, time])
    with pytest.raises(TraceError, match="t_exit has an impossible time"):
        load(path)


def test_machines_without_end(tmp_path):
    many = [{"name": "x", "first_vcpu": 0, "vcpus": 1 << 16}] * 100_000
    assert len(machines({"vmrun.merged": json.dumps(many)})) <= 1 << 16
    for first, count in ((-1, 2), (0, 1 << 40), (1 << 16, 1), ("0", 1), (0, None)):
        assert machines({"vmrun.merged": json.dumps([{"name": "x", "first_vcpu": first, "vcpus": count}])}) == {}
