"""``vmtrace io``, and the requests in the other commands."""

import json

import pytest

from tests.fakes.requestfakes import request, write_requests
from tests.fakes.tracefakes import exit_, record_all
from tracer.cli import main


@pytest.fixture
def path(tmp_path):
    """A trace of a machine with requests; serial0 stands for a disk."""
    return recorded(tmp_path / "boot.arrow")


def recorded(path, **options):
    lines = b"Linux version 6.1\nRun /init as init process\n"
    record_all(
        path,
        [[exit_(1000 * number, data=bytes([byte])) for number, byte in enumerate(lines)]],
        summary={"duration_ns": 100_000, "result": {"kind": "halt", "status": 0}},
    )
    made = [request(100 * n, 100 * n + 50, 1_000 * n + 400, position=8 * n) for n in range(40)]
    made += [request(50_000, 50_001, 90_000, kind="flush", length=0, status="error")]
    write_requests(path, made, **options)
    return path


def test_the_tables_for_people(path, capsys):
    assert main(["io", str(path)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("41 requests\n\nRequests in flight from the start of the run to its end\nserial0  |")
    assert "at most 36; a bar is the mean of 1.67 us, the highest 35" in out
    [kinds] = [line.split() for line in out.splitlines() if line.split()[:2] == ["serial0", "read"]][:1]
    assert kinds[:6] == ["serial0", "read", "40", "0", "20,480", "17.5"]
    assert "depth\n\n" not in out


def test_one_table_and_all_of_them(path, capsys):
    assert main(["io", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {name: len(rows) for name, rows in found.items()} == {"kinds": 2, "frames": 0, "depth": 60, "slowest": 20}
    assert found["slowest"][0] | {"kick_ns": 0} == {
        "device": "serial0", "queue": 0, "kind": "flush", "position": 0, "bytes": 0, "status": "error",
        "latency_ns": 40_000, "wait_ns": 1, "t_ns": 50_000, "vcpu": None, "seq": None, "kick_ns": 0, "rip": None,
        "symbol": None,
    }  # fmt: skip
    assert main(["io", str(path), "--table", "depth", "--csv"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 61


def test_what_is_missing_is_told(tmp_path, capsys):
    path = recorded(tmp_path / "boot.arrow", summary={"complete": False, "rows": 41, "dropped": 1_234})
    assert main(["io", str(path)]) == 0
    out = capsys.readouterr().out
    assert "- requests may be missing at the end: the run continues, was killed, or was recovered" in out
    assert "- 1,234 requests are missing: their ring was full (trace.ring, trace.full)" in out


def test_a_trace_without_requests_says_how_to_record_them(tmp_path, capsys):
    record_all(tmp_path / "boot.arrow", [[exit_(0)]])
    assert main(["io", str(tmp_path / "boot.arrow")]) == 2
    said = capsys.readouterr().err
    assert "there are no requests beside" in said
    assert "trace.requests = true (vmrun --set trace.requests=true), in a machine with a virtio device" in said


def test_a_table_with_no_request(tmp_path, capsys):
    record_all(tmp_path / "boot.arrow", [[exit_(0)]])
    write_requests(tmp_path / "boot.arrow", [])
    assert main(["io", str(tmp_path / "boot.arrow")]) == 0
    assert capsys.readouterr().out.startswith("0 requests\n")


def test_the_timeline_has_the_requests_of_each_phase(path, capsys):
    assert main(["timeline", str(path), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["requests"]
    assert {row["phase"] for row in rows} >= {"init"}
    assert sum(row["requests"] for row in rows) == 41
    assert main(["timeline", str(path)]) == 0
    assert "\nrequests\n" in capsys.readouterr().out


def test_the_timeline_of_a_trace_without_requests_has_no_word_of_them(tmp_path, capsys):
    record_all(tmp_path / "boot.arrow", [[exit_(0)]])
    assert main(["timeline", str(tmp_path / "boot.arrow")]) == 0
    assert "requests" not in capsys.readouterr().out


def test_two_traces_differ_in_their_requests(path, tmp_path, capsys):
    other = tmp_path / "other.arrow"
    recorded(other)
    write_requests(other, [request(0, 1, 5)])
    assert main(["diff", str(path), str(other), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["requests"]
    assert [(row["kind"], row["requests_a"], row["requests_b"]) for row in rows] == [("flush", 1, 0), ("read", 40, 1)]
    assert main(["diff", str(path), str(other)]) == 0
    assert "\nrequests\n" in capsys.readouterr().out


def test_requests_in_perfetto(path, capsys):
    protos = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
    assert main(["export", str(path), "--perfetto"]) == 0
    packets = protos.Trace.FromString(path.with_suffix(".pftrace").read_bytes()).packet
    lanes = {packet.track_descriptor.uuid for packet in packets if packet.track_descriptor.name == "serial0, queue 0"}
    assert len(lanes) == 36
    named = {entry.iid: entry.name for packet in packets for entry in packet.interned_data.event_names}
    events = [packet for packet in packets if packet.track_event.track_uuid in lanes]
    begun = [packet for packet in events if packet.track_event.type == protos.TrackEvent.TYPE_SLICE_BEGIN]
    assert (len(begun), len(events)) == (41, 82)
    assert {named[packet.track_event.name_iid] for packet in begun} == {"read", "flush"}
    assert sorted(packet.timestamp for packet in begun)[:3] == [0, 100, 200]
