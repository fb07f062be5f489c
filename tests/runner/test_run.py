"""Tiny guests on the host's KVM, through runner.run: what the guest sees and what is recorded."""

import json
import os
import subprocess
import sys

import pytest

import tracer
import vmspec
from runner import run
from vmspec.trace.record import FLAGS

pytestmark = pytest.mark.kvm

HLT = "f4"
DEBUG = {"kind": "debug-port"}
SERIAL = {"kind": "serial", "input": "none"}

# An own device that prints what is written, and answers reads with 0x30, 0x31, ...
KEEP = """
from runner.devices import Device

class Keep(Device):
    def __init__(self):
        self.count = 0

    def read(self, region, offset, size):
        self.count += 1
        return 0x30 + (self.count - 1) % 64

    def write(self, region, offset, size, value):
        self.output(f"{offset} {size} {value:#x}\\n".encode())
"""
KEEPER = {"kind": "python", "class": "keep:Keep"}


def rows(result):
    return tracer.load(result.trace).table.to_pylist()


def exits(result, *columns):
    return [tuple(row[column] for column in columns) for row in rows(result)]


def test_a_halt_is_one_exit(run_guest):
    assert exits(run_guest(HLT), "seq", "vcpu", "reason", "count", "flags") == [(0, 0, "hlt", 0, FLAGS["LAST"] | 32)]


@pytest.mark.parametrize(
    ("code", "size", "data"),
    [("e6 80", 1, 0x44), ("e7 80", 2, 0x3344), ("66 e7 80", 4, 0x11223344)],
)
def test_out_of_every_width(run_guest, code, size, data):
    result = run_guest(f"{code} {HLT}", boot={"registers": {"rax": 0x11223344}})
    assert exits(result, "reason", "direction", "addr", "size", "count", "data")[0] == (
        "io",
        "write",
        0x80,
        size,
        1,
        data,
    )


@pytest.mark.parametrize(
    ("code", "size", "seen"),
    [("e4 80 ", 1, 0x112233FF), ("e5 80", 2, 0x1122FFFF), ("66 e5 80", 4, 0xFFFFFFFF)],
)
def test_an_unclaimed_read_gives_all_ones(run_guest, code, size, seen):
    result = run_guest(f"{code} 66 e7 81 {HLT}", boot={"registers": {"rax": 0x11223344}})
    ones = (1 << 8 * size) - 1
    assert exits(result, "direction", "size", "data")[:2] == [("read", size, ones), ("write", 4, seen)]


def test_unclaimed_accesses_are_recorded_as_such(run_guest):
    result = run_guest(f"e4 80 e6 80 {HLT}")
    assert [(device, flags & FLAGS["UNCLAIMED"]) for device, flags in exits(result, "device", "flags")[:2]] == [
        ("-", 1)
    ] * 2


def test_string_output_keeps_every_byte_in_order(run_guest, assemble):
    text = bytes(n % 251 for n in range(4000))
    code = assemble("mov $text, %si\n mov $4000, %cx\n mov $0xe9, %dx\n cld\n rep outsb\n hlt\n text:") + text
    result = run_guest(code, devices=[DEBUG])
    moved = [(row["payload"] or row["data"].to_bytes(8, "little"))[: row["count"]] for row in rows(result)[:-1]]
    assert (b"".join(moved), result.console) == (text, text)


def test_string_input_fills_memory_and_the_payload(run_guest, assemble):
    code = assemble("""
        mov $0x5000, %di; mov $64, %cx; mov $0x300, %dx; cld; rep insb
        mov $0x5000, %si; mov $64, %cx; mov $0xe9, %dx; rep outsb; hlt""")
    result = run_guest(code, devices=[KEEPER | {"port": [0x300, 1]}, DEBUG], files={"keep.py": KEEP})
    reads = [row for row in rows(result) if row["direction"] == "read"]
    got = b"".join((row["payload"] or row["data"].to_bytes(8, "little"))[: row["count"]] for row in reads)
    assert (got, result.console) == (bytes(range(0x30, 0x70)), bytes(range(0x30, 0x70)))


def test_memory_mapped_accesses(run_guest):
    # mov edi, 0xd0000000; mov [edi + 8], eax; mov [edi + 4], ax; mov al, [edi]; hlt
    code = "bf 00 00 00 d0 89 47 08 66 89 47 04 8a 07 f4"
    result = run_guest(
        code, boot={"mode": "protected", "registers": {"rax": 0x11223344}}, files={"keep.py": KEEP},
        devices=[KEEPER | {"mmio": [0xD0000000, 0x1000]}],
    )  # fmt: skip
    assert (result.console, exits(result, "reason", "direction", "addr", "size", "data", "device")[:3]) == (
        b"8 4 0x11223344\n4 2 0x3344\n",
        [
            ("mmio", "write", 0xD0000008, 4, 0x11223344, "python0"),
            ("mmio", "write", 0xD0000004, 2, 0x3344, "python0"),
            ("mmio", "read", 0xD0000000, 1, 0x30, "python0"),
        ],
    )


def test_an_unclaimed_memory_read_gives_all_ones(run_guest):
    result = run_guest("a1 00 00 00 e0 e7 80 f4", boot={"mode": "protected"})  # mov eax, [0xe0000000]; out 0x80, eax
    assert exits(result, "reason", "data")[:2] == [("mmio", 0xFFFFFFFF), ("io", 0xFFFFFFFF)]


def test_console_text_can_be_rebuilt_from_the_trace(run_guest, assemble):
    text = bytes(range(256)) * 8
    code = assemble("mov $text, %si\n mov $2048, %cx\n mov $0x3f8, %dx\n cld\n rep outsb\n hlt\n text:") + text
    result = run_guest(code, devices=[SERIAL])
    rebuilt = b"".join(
        (row["payload"] or row["data"].to_bytes(8, "little"))[: row["count"]]
        for row in rows(result)
        if row["addr"] == 0x3F8
    )
    assert (rebuilt, tracer.load(result.trace).console()) == (result.console, result.console)


def test_rip_stands_behind_the_instruction_or_at_it(run_guest):
    rip, flags = exits(run_guest(f"90 e6 80 {HLT}"), "rip", "flags")[0]
    assert (rip in (0x1001, 0x1003), flags & FLAGS["RIP"]) == (True, FLAGS["RIP"])


def test_rip_can_be_left_out(run_guest):
    assert exits(run_guest(HLT, trace={"rip": False}), "rip", "flags") == [(0, FLAGS["LAST"])]


def test_a_host_without_sync_regs_tells_no_rip(run_guest, lacking):
    lacking("KVM_CAP_SYNC_REGS")
    assert exits(run_guest(HLT), "rip", "flags") == [(0, FLAGS["LAST"])]


def test_rows_and_counters_agree(run_guest):
    result = run_guest(f"e4 80 e6 80 e6 81 {HLT}", vm={"vcpus": 3})
    summary = tracer.load(result.trace).summary
    found = [len([row for row in rows(result) if row["vcpu"] == vcpu]) for vcpu in range(3)]
    assert (found, summary["rows"], result.counters) == ([4] * 3, [4] * 3, {"io": 9, "hlt": 3, "dropped": 0})


def test_a_small_ring_makes_the_guest_wait_and_loses_nothing(run_guest, assemble):
    code = assemble("mov $5000, %cx\n 1: out %al, $0x80\n loop 1b\n hlt")
    result = run_guest(code, trace={"ring": 64})
    assert (len(rows(result)), result.counters["dropped"]) == (5001, 0)


# An own device that keeps its writer until the recorder has taken something out of the ring.
PATIENT = """
import time
from pathlib import Path
from runner.devices import Device
from tracer.read.ringfile import RingFile

class Keep(Device):
    def write(self, region, offset, size, value):
        while True:
            with RingFile(Path(__file__).with_name("guest.ring")) as rings:
                if rings.rings and rings.rings[0].control["tail"]:
                    return
            time.sleep(0.01)
"""


def test_dropped_exits_are_counted_and_marked(run_guest, assemble):
    code = assemble("mov $5000, %cx\n 1: out %al, $0x80\n loop 1b\n out %al, $0x90\n hlt")
    result = run_guest(
        code, trace={"ring": 64, "full": "drop"}, devices=[KEEPER | {"port": [0x90, 1]}], files={"keep.py": PATIENT}
    )
    found = rows(result)
    assert len(found) + result.counters["dropped"] == 5002 == result.counters["io"] + result.counters["hlt"]
    assert result.counters["dropped"] == 0 or any(row["flags"] & FLAGS["GAP"] for row in found)


def test_the_trace_says_what_was_run_where(run_guest):
    trace = tracer.load(run_guest(HLT).trace)
    host = json.loads(trace.metadata["vmrun.host"])
    assert (trace.spec["vm"]["name"], host["kernel"], trace.clock["tsc_khz"] > 0) == ("guest", os.uname().release, True)


def test_the_hash_of_cpuid_is_the_host_s_whichever_processor_it_was_read_on(run_guest):
    allowed = os.sched_getaffinity(0)
    try:
        hashes = set()
        for processor in allowed:
            os.sched_setaffinity(0, {processor})
            hashes.add(tracer.load(run_guest(HLT).trace).host["cpuid_sha256"])
    finally:
        os.sched_setaffinity(0, allowed)
    assert len(hashes) == 1


def test_a_run_leaves_only_its_trace(run_guest, tmp_path):
    run_guest(HLT)
    assert {path.name for path in tmp_path.iterdir()} == {"guest.toml", "guest.arrow"}


def test_without_a_trace_nothing_is_written(run_guest, tmp_path):
    result = run_guest(HLT, trace=None)
    assert (result.trace, {path.name for path in tmp_path.iterdir()}) == (None, {"guest.toml"})


def test_one_override_may_be_a_text(write_spec):
    assert run(write_spec(f"e6 e9 {HLT}", devices=[DEBUG]), overrides="boot.registers.rax=0x42").console == b"B"


@pytest.mark.parametrize("overrides", [{"vm.memory": "1GiB"}, [("vm.memory", "1GiB")], [1]])
def test_overrides_that_are_no_texts(write_spec, overrides):
    with pytest.raises(TypeError, match=r'overrides are texts such as "vm\.memory=1GiB", not '):
        run(write_spec(HLT), overrides=overrides)


def test_overrides_do_not_go_with_a_spec_that_is_read(write_spec):
    with pytest.raises(TypeError, match="overrides are for a spec's file"):
        run(vmspec.load(write_spec(HLT)), overrides=["vm.memory=2MiB"])


def test_a_plan_runs_as_its_spec_does(write_spec, tmp_path):
    from vmspec.plan import serial

    path = write_spec(f"b0 41 e6 e9 {HLT}", devices=[DEBUG])
    planned = serial.loads(serial.dumps(vmspec.Document.open(path).plan()))
    assert run(planned, record=False).console == run(path, record=False).console == b"A"
    with pytest.raises(TypeError, match="overrides are for a spec's file"):
        run(planned, overrides="vm.vcpus=2")


def test_a_plan_whose_files_have_two_uses_now_is_not_run(write_spec, tmp_path):
    path = write_spec(HLT, devices=[{**DEBUG, "output": "out"}])
    planned = vmspec.Document.open(path).plan()
    (tmp_path / "out").symlink_to(path)
    with pytest.raises(vmspec.SpecError, match="out is this spec too, and would be overwritten"):
        run(planned, record=False)


def test_an_unchanged_spec_starts_without_the_models(write_spec, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = write_spec(f"b0 41 e6 e9 {HLT}", devices=[DEBUG])
    code = (
        "import sys; from runner.entry import main; sys.argv[1:] = [sys.argv[1], '--no-trace']; status = main();"
        "sys.exit(status or any(name in sys.modules for name in ('attr', 'tomllib', 'vmspec.document')))"
    )
    for expected in (1, 0):
        done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, check=False)
        assert (done.returncode, done.stdout) == (expected, b"A"), done.stderr
