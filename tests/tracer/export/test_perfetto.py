"""Perfetto: the output parses by the published messages, and equals the trace."""

import sys

import pytest
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as protos

from tests.fakes.comparefakes import exit_row, write_trace
from tests.tracer.export.exportfakes import MMIO, exported, some_rows, with_tracepoints
from tests.tracer.export.pftraces import parsed, slices
from tracer.cli import main


def test_every_exit_is_a_slice_of_its_vcpu(tmp_path):
    found = slices(parsed(exported(tmp_path, "perfetto")))
    for vcpu in (0, 1):
        rows = [(n, row) for n, row in enumerate(some_rows()) if row["vcpu"] == vcpu]
        handled = [entry for entry in found if entry[0] == f"vCPU {vcpu}" and entry[1] != "KVM_RUN"]
        assert [(entry[2], entry[3]) for entry in handled] == [(1000 * n, 1000 * n + 400) for n, _ in rows]
        assert [(entry[4]["addr"], entry[4]["data"], entry[4]["rip"]) for entry in handled] == [
            (row["addr"], row["data"], row["rip"]) for _, row in rows
        ]
        between = [entry for entry in found if entry[0] == f"vCPU {vcpu}" and entry[1] == "KVM_RUN"]
        # From its first KVM_RUN, before all rows, to the run's end.
        left, entered = [n for n, _ in rows], [n + 0.4 for n, _ in rows]
        stays = zip([0, *entered], [*left, len(some_rows())], strict=True)
        assert [(entry[2], entry[3]) for entry in between] == [
            (1000 * start, 1000 * stop) for start, stop in stays if start < stop
        ]


def test_names_and_arguments(tmp_path):
    found = slices(parsed(exported(tmp_path, "perfetto")))
    assert {name for track, name, *_ in found if track.startswith("vCPU")} == {
        "KVM_RUN",
        "io serial0 write",
        "mmio rtc0 write",
        "mmio write",
        "hlt",
        "wrmsr write",
    }
    string = next(arguments for *_, arguments in found if "payload" in arguments)
    assert string == {
        "what": "COM1 THR",
        "addr": 0x3F8,
        "size": 1,
        "count": 12,
        "flags": "PAYLOAD|RIP",
        "seq": 5,
        "data": int.from_bytes(b"string I", "little"),
        "rip": 0x1000,
        "payload": b"string I/O\n!".hex(),
    }


def test_tracks_of_devices_and_the_console(tmp_path):
    found = slices(parsed(exported(tmp_path, "perfetto")))
    assert [name for track, name, *_ in found if track == "serial0, vCPU 0"] == ["write COM1 THR"] * 6
    devices = [entry for entry in found if entry[0] == "rtc0, vCPU 1"]
    assert [(name, arguments["addr"]) for _, name, _, _, arguments in devices] == [
        ("mmio write", MMIO + n) for n in range(3)
    ]
    lines = [(name, t) for track, name, t, end, _ in found if track == "console (serial0)"]
    assert lines == [("boot", 0), ("string I/O", 8000), ("!", 8000)]


def test_the_first_packets_set_up_clock_and_sequence(tmp_path):
    packets = parsed(exported(tmp_path, "perfetto"))
    assert packets[0].clock_snapshot.primary_trace_clock == protos.BUILTIN_CLOCK_BOOTTIME
    assert packets[1].sequence_flags == protos.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
    assert packets[2].track_descriptor.process.process_name == "vmrun fake"
    assert {packet.trusted_packet_sequence_id for packet in packets} == {1}


def test_names_are_interned_once(tmp_path):
    packets = parsed(exported(tmp_path, "perfetto", [exit_row() for _ in range(1000)]))
    assert sum(packet.HasField("interned_data") for packet in packets) < 20


def test_without_the_package(tmp_path, monkeypatch, capsys):
    path = write_trace(tmp_path / "a.arrow", [])
    monkeypatch.setitem(sys.modules, "perfetto.protos.perfetto.trace", None)
    assert main(["export", str(path), "--perfetto"]) == 2
    assert "pip install perfetto" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("rows", [[], [exit_row(t_exit=-5, t_entry=-7)]])
def test_odd_traces(tmp_path, rows):
    slices(parsed(exported(tmp_path, "perfetto", rows)))


def test_tracepoints(tmp_path):
    found = [entry for entry in slices(parsed(with_tracepoints(tmp_path, "perfetto"))) if entry[0] == "vCPU 0, KVM"]
    assert [entry[1:4] for entry in found if entry[3] is not None] == [
        ("waiting", 20, 50), ("guest", 50, 100), ("npf", 100, 130), ("guest", 130, 200), ("ioio", 200, 600),
        ("guest", 600, 700), ("hlt", 700, 900), ("guest", 900, 1000), ("msr", 1000, 1500),
    ]  # fmt: skip
    assert [entry[1:4] for entry in found if entry[3] is None] == [("kvm_page_fault 0x0 to 0x1fffff", 120, None)]
    assert next(facts for *_, facts in found if facts.get("handled") == "userspace") == {
        "rip": 0, "handled": "userspace", "rows": 1,
    }  # fmt: skip
