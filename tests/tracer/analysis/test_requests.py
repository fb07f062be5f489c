"""The figures of requests, compared with a plain computation; and the exits that told of them."""

import math
from types import SimpleNamespace

import pandas
import pyarrow
import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tracer
from tests.fakes.examples import DEAR
from tests.fakes.requestfakes import request, write_requests
from tests.fakes.tracefakes import METADATA, exit_, record_all
from tracer.analysis import requests
from tracer.analysis.kicks import Kicks, unrecorded
from tracer.analysis.requestchanges import changes
from tracer.analysis.requests import by_kind, by_phase, by_phases, depths, loaded, schemas, slowest, summarised
from tracer.export.requests import slices
from tracer.format.errors import TraceError
from vmspec.registers import virtio as R
from vmspec.trace import keys
from vmspec.trace.requests import FILLED, KINDS, STATUSES

DISK, NET = "virtio-blk0", "virtio-net0"
NAMES = [DISK, NET, "serial0"]
MMIO = 0xD0000000


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A trace without requests."""
    path = tmp_path_factory.mktemp("bare") / "boot.arrow"
    record_all(path, [[exit_(1000), exit_(5000)]], summary={"duration_ns": 6000})
    return path


def trace_of(folder, rows, exits=(), duration=100_000):
    path = folder / "boot.arrow"
    record_all(path, [list(exits)], summary={"duration_ns": duration}, devices=NAMES)
    devices = '["virtio-blk0", "virtio-net0", "serial0"]'
    write_requests(path, rows, metadata={"vmrun.clock": METADATA["vmrun.clock"], "vmrun.devices": devices})
    return tracer.load(path)


@st.composite
def rows(draw):
    start = draw(st.integers(0, 50_000))
    taken = start + draw(st.integers(0, 20_000))
    return request(
        start,
        taken,
        taken + draw(st.integers(0, 20_000)),
        device=draw(st.sampled_from(NAMES)),
        queue=draw(st.integers(0, 2)),
        kind=draw(st.sampled_from([*KINDS])),
        status=draw(st.sampled_from([*STATUSES])),
        length=draw(st.integers(0, 1 << 40)),
        position=draw(st.integers(0, (1 << 64) - 1)),
    )


def naive(rows):
    """The same requests as a data frame, and how their latency is defined."""
    frame = pandas.DataFrame(rows)
    frame["start"] = frame["t_available"].where(~frame["kind"].isin(FILLED), frame["t_taken"])
    frame["latency"] = frame["t_done"] - frame["start"]
    frame["service"] = frame["t_done"] - frame["t_taken"]
    return frame


def in_flight(frame, t):
    """How many are in flight in the ns that begins at ``t``."""
    return int(((frame["start"] <= t) & (t < frame["t_done"])).sum())


def most_at_once(frame):
    """Both ends count."""
    return max(int(((frame["start"] <= t) & (t <= frame["t_done"])).sum()) for t in frame["start"])


def rank(values, fraction):
    return sorted(values)[max(math.ceil(len(values) * fraction), 1) - 1]


def covered(frame):
    """The time in which at least one is in flight."""
    total, until = 0, 0
    for start, end in sorted(zip(frame["start"], frame["t_done"], strict=True)):
        total += max(0, end - max(start, until))
        until = max(until, end)
    return total


EXAMPLES = settings(DEAR, suppress_health_check=[HealthCheck.function_scoped_fixture])


@EXAMPLES
@given(st.lists(rows(), min_size=1, max_size=40))
def test_figures_by_device_and_kind(tmp_path_factory, made):
    found = by_kind(loaded(trace_of(tmp_path_factory.mktemp("run"), made))).to_pylist()
    frame = naive(made)
    groups = dict(iter(frame.groupby(["device", "kind"])))
    assert [row["requests"] for row in found] == sorted((len(group) for group in groups.values()), reverse=True)
    for row in found:
        group = groups.pop((row["device"], row["kind"]))
        busy = covered(group)
        assert {name: value for name, value in row.items() if name not in ("device", "kind", "depth")} == {
            "requests": len(group),
            "failed": int((group["status"] != "ok").sum()),
            "bytes": int(group["length"].sum()),
            "median_ns": rank(group["latency"], 0.5),
            "p99_ns": rank(group["latency"], 0.99),
            "max_ns": group["latency"].max(),
            "service_ns": rank(group["service"], 0.5),
            "busy_ns": busy,
            "max_depth": most_at_once(group),
        }
        assert row["depth"] == (pytest.approx(group["latency"].sum() / busy) if busy else None)
    assert not groups


@EXAMPLES
@given(st.lists(rows(), min_size=1, max_size=12), st.integers(1, 7))
def test_depth_over_time(tmp_path_factory, made, bins):
    frame = naive(made)
    end = int(frame["t_done"].max())
    found = depths(loaded(trace_of(tmp_path_factory.mktemp("run"), made)), end, bins).to_pylist()
    for device, group in frame.groupby("device"):
        parts = [row for row in found if row["device"] == device]
        width = parts[0]["time_ns"]
        assert [row["t_ns"] for row in parts] == [number * width for number in range(bins)]
        assert bins * width > end
        assert sum(row["depth"] * width for row in parts) == pytest.approx(group["latency"].sum())
        assert max(row["max_depth"] for row in parts) == most_at_once(group)
        for row in parts:
            done = group[(group["t_done"] >= row["t_ns"]) & (group["t_done"] < row["t_ns"] + width)]
            assert (row["requests"], row["bytes"]) == (len(done), int(done["length"].sum()))
            begun = [max(0, min(b, row["t_ns"] + width) - max(a, row["t_ns"])) for a, b in
                     zip(group["start"], group["t_done"], strict=True)]  # fmt: skip
            assert row["depth"] == pytest.approx(sum(begun) / width)


@EXAMPLES
@given(st.lists(rows(), max_size=30))
def test_lanes_of_a_queue_do_not_overlap_and_are_as_few_as_can_be(tmp_path_factory, made):
    lanes = {}
    found = [*slices(trace_of(tmp_path_factory.mktemp("run"), made))]
    assert len(found) == len(made)
    for one in found:
        assert lanes.get((one.device, one.queue, one.lane), 0) <= one.start <= one.stop
        lanes[one.device, one.queue, one.lane] = one.stop
    if made:
        frame = naive(made)
        for place, group in frame.groupby(["device", "queue"]):
            most = max(in_flight(group, t) for t in group["start"])
            used = len({lane for *of, lane in lanes if tuple(of) == place})
            assert max(most, 1) <= used <= most_at_once(group)


def test_a_buffer_that_waits_to_be_filled_is_not_slow(tmp_path):
    made = [request(0, 70, 90, kind=kind, device=NET) for kind in ("receive", "transmit")]
    found = {row["kind"]: row["max_ns"] for row in by_kind(loaded(trace_of(tmp_path, made))).to_pylist()}
    assert found == {"receive": 20, "transmit": 90}


def test_times_that_cannot_be_make_no_negative_latency(tmp_path):
    made = [request(50, 70, 10), request(-5, -9, -7), request(5, 99, 20)]
    for table in summarised(trace_of(tmp_path, made)).values():
        for name in table.column_names:
            if name.endswith("_ns") and name not in ("t_ns", "kick_ns"):
                assert all(value >= 0 for value in table[name].to_pylist()), name


def test_a_table_without_requests(tmp_path):
    trace = trace_of(tmp_path, [])
    assert {name: table.schema for name, table in summarised(trace).items()} == schemas()
    assert not any(table.num_rows for table in summarised(trace).values())


def test_no_requests_have_the_columns_of_some(tmp_path):
    (tmp_path / "some").mkdir()
    some = loaded(trace_of(tmp_path / "some", [request(0, 1, 2)])).schema
    assert loaded(trace_of(tmp_path, [])).schema.equals(some)


def test_a_narrow_terminal_keeps_the_latency_and_the_exit():
    made = schemas()["slowest"]
    kept = [field.name for field in made if (field.metadata or {}).get(b"keep") == b"1"]
    assert kept == ["latency_ns", "vcpu", "seq", "rip"]
    assert all(field.metadata[b"doc"] for field in made)


def test_more_bytes_than_can_be_are_damage(tmp_path):
    made = [request(0, 1, 2, length=(1 << 64) - 1) for _ in range(3)]
    with pytest.raises(TraceError, match="out of range"):
        by_kind(loaded(trace_of(tmp_path, made)))


# The exit that told of a request


def kick(t, queue=0, place=0, device=DISK, **fields):
    """A write of a queue's number to a device's QueueNotify."""
    addr = MMIO + R.SIZE * place + R.QUEUE_NOTIFY
    values = {"reason": "mmio", "addr": addr, "data": queue.to_bytes(4, "little"), "size": 4, "rip": t}
    return of_device(exit_(t, **values), device, **fields)


def of_device(record, device, **fields):
    values, payload = record
    return values | {"device": NAMES.index(device)} | fields, payload


def test_each_request_has_the_last_notification_of_its_queue(tmp_path):
    exits = [
        kick(1_000),
        kick(2_000, queue=1),
        kick(3_000, device=NET, place=1),
        of_device(exit_(4_000, reason="mmio", addr=MMIO + R.INTERRUPT_ACK, size=4, data=bytes(4)), DISK),
        of_device(
            exit_(5_000, reason="mmio", addr=MMIO + R.QUEUE_NOTIFY, size=4, data=bytes(4), direction="read"), DISK
        ),
        kick(6_000),
        of_device(exit_(6_500, addr=R.QUEUE_NOTIFY), "serial0"),
    ]
    made = [
        request(999, 999, 10_000, device=DISK),
        request(1_000, 1_010, 20_000, device=DISK),
        request(5_999, 5_999, 30_000, device=DISK),
        request(6_001, 6_100, 50_000, device=DISK),
        request(2_500, 2_600, 40_000, device=DISK, queue=1),
        request(9_000, 9_000, 70_000, device=NET),
        request(9_000, 9_000, 80_000, device=NET, queue=1),
    ]
    trace = trace_of(tmp_path, made, exits)
    assert len(Kicks(trace)) == 4
    found = slowest(trace, loaded(trace)).to_pylist()
    told = {
        (row["device"], row["queue"], row["t_ns"]): (row["vcpu"], row["seq"], row["kick_ns"], row["rip"])
        for row in found
    }
    assert told == {
        (DISK, 0, 999): (None, None, None, None),
        (DISK, 0, 1_000): (0, 0, 1_000, 1_000),
        (DISK, 0, 5_999): (0, 0, 1_000, 1_000),
        (DISK, 0, 6_001): (0, 5, 6_000, 6_000),
        (DISK, 1, 2_500): (0, 1, 2_000, 2_000),
        (NET, 0, 9_000): (0, 2, 3_000, 3_000),
        (NET, 1, 9_000): (None, None, None, None),
    }
    assert [row["latency_ns"] for row in found] == sorted((row["latency_ns"] for row in found), reverse=True)


@pytest.mark.parametrize(
    ("known", "rip", "shown"),
    [
        (True, 8, "kick+0x8"),
        (True, 9, "[module]"),
        (True, 0, ""),
        (False, 8, ""),
    ],
)
def test_the_code_that_notified_by_name(tmp_path, monkeypatch, known, rip, shown):
    names = {8: ("kick", "kick+0x8"), 9: ("[module]", "[module]+0x9")}
    fake = SimpleNamespace(symbols=known or None, name=names.__getitem__)
    monkeypatch.setattr(requests, "namer", lambda trace, ports: fake)
    exits = [of_device(exit_(1_000, reason="mmio", addr=MMIO + R.QUEUE_NOTIFY, data=bytes(4), size=4, rip=rip), DISK)]
    other = of_device(exit_(500, reason="mmio", addr=MMIO + R.QUEUE_NOTIFY, data=b"\1\0\0\0", size=4, rip=8), DISK)
    made = [request(2_000, 2_000, 3_000, device=DISK), request(2_000, 2_000, 2_500, device=DISK, queue=1)]
    trace = trace_of(tmp_path, made, [other, *exits])
    assert slowest(trace, loaded(trace))["symbol"].to_pylist() == [shown, "kick+0x8" if known else ""]


def test_the_last_notification_is_found_by_its_time(tmp_path):
    exits = [kick(t) for t in (1_000, 2_000, 3_000)]
    exits = [(values | {"rip": 5_000 - values["rip"]}, payload) for values, payload in exits]
    trace = trace_of(tmp_path, [], exits)
    assert [Kicks(trace).before(DISK, 0, t).rip for t in (1_500, 2_000, 9_000)] == [4_000, 3_000, 2_000]
    assert Kicks(trace).before(DISK, 0, 999) is None


def test_the_slowest_are_few(tmp_path):
    trace = trace_of(tmp_path, [request(0, 0, done) for done in range(50)])
    assert slowest(trace, loaded(trace), 5)["latency_ns"].to_pylist() == [49, 48, 47, 46, 45]


# Phases and differences


def phases(*spans):
    import pyarrow

    rows = [{"phase": name, "t_ns": t, "time_ns": time, "paused_ns": paused} for name, t, time, paused in spans]
    return pyarrow.Table.from_pylist(rows)


def test_requests_of_each_phase(tmp_path):
    made = [request(10, 20, 90), request(80, 85, 120, status="error"), request(150, 150, 160, device=NET)]
    parts = phases(("one", 0, 100, 0), ("two", 100, 40, 10), ("three", 150, 50, 0))
    trace = trace_of(tmp_path, [{**row, "device": row["device"].replace("serial0", DISK)} for row in made])
    found = by_phase(loaded(trace), parts)
    told = [(row["phase"], row["device"], row["requests"], row["failed"], row["busy_ns"]) for row in found.to_pylist()]
    assert told == [("one", DISK, 1, 0, 90), ("two", DISK, 1, 1, 20), ("three", NET, 1, 0, 10)]
    assert [row["busy_share"] for row in found.to_pylist()] == [0.9, 0.4, 0.2]
    assert found["depth"].to_pylist() == pytest.approx([100 / 90, 1, 1])


def test_phases_of_a_merged_trace_have_the_requests_of_one_machine(tmp_path, monkeypatch):
    trace = trace_of(tmp_path, [request(0, 0, 9), request(0, 0, 9), request(0, 0, 9)])
    devices = pyarrow.array([f"web/{DISK}", f"webs/{DISK}", f"db/{DISK}"])
    rows = loaded(trace).set_column(0, "device", devices)
    monkeypatch.setattr(requests, "loaded", lambda trace: rows)
    found = {console: by_phases(trace, phases(("all", 0, 10, 0)), console)["device"].to_pylist() for console in
             ("web/serial0", "serial0", None)}  # fmt: skip
    every = [f"db/{DISK}", f"web/{DISK}", f"webs/{DISK}"]
    assert found == {"web/serial0": [f"web/{DISK}"], "serial0": every, None: every}


@EXAMPLES
@given(st.lists(rows(), min_size=1, max_size=20))
def test_phases_have_all_requests_and_all_busy_time(tmp_path_factory, made):
    parts = phases(("one", 0, 30_000, 0), ("two", 30_000, 10, 0), ("three", 30_010, 200_000, 0))
    found = by_phase(loaded(trace_of(tmp_path_factory.mktemp("run"), made)), parts).to_pylist()
    assert sum(row["requests"] for row in found) == len(made)
    frame = naive(made)
    assert sum(row["busy_ns"] for row in found) == sum(covered(group) for _, group in frame.groupby("device"))


def test_two_traces_side_by_side(tmp_path, bare):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    a = trace_of(tmp_path / "a", [request(0, 1, 5, device=DISK), request(0, 1, 9, device=DISK, kind="flush", length=0)])
    b = trace_of(tmp_path / "b", [request(0, 1, 50, device=DISK) for _ in range(3)])
    found = {row["kind"]: row for row in changes(a, b).to_pylist()}
    read, flush = found["read"], found["flush"]
    assert (read["requests_a"], read["requests_b"], read["bytes_b"]) == (1, 3, 1536)
    assert (read["median_a_ns"], read["median_b_ns"]) == (5, 50)
    assert (flush["requests_a"], flush["requests_b"], flush["median_b_ns"]) == (1, 0, None)
    assert {row["requests_b"] for row in changes(a, tracer.load(bare)).to_pylist()} == {None}
    assert changes(tracer.load(bare), tracer.load(bare)).num_rows == 0


def test_what_another_answers_is_told():
    tables = [
        {"kind": "virtio-blk", "path": "a", "notify": "ioeventfd"},
        {"kind": "virtio-net", "notify": "ioeventfd"},
        {"kind": "vhost-user"},
        {"kind": "virtio-fs"},
    ]
    assert unrecorded({keys.SPEC: tomli_w.dumps({"device": tables})}) == (
        'the notifications of virtio-blk0, virtio-net0 are not in the trace (notify = "ioeventfd"); '
        "the requests to vhost-user0, virtio-fs0 are not in the trace (another process serves them)"
    )
    assert unrecorded({}) == ""


def test_requests_that_were_not_recorded_are_told(bare):
    with pytest.raises(TraceError, match=r"there are no requests beside .*, in a machine with a virtio device"):
        summarised(tracer.load(bare))
    assert [*slices(tracer.load(bare))] == []
