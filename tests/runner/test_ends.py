"""How runs end: halts, crashes, timeouts, devices that fail, interrupts, hosts that cannot."""

import os
import re
import threading
import time

import pytest

import tracer
from runner.devices.device import Device, DeviceError
from runner.kvm.errors import HostError
from runner.machine import lifecycle
from runner.machine.machine import Machine
from runner.machine.vcpu import VcpuThread
from runner.x86.state import Segment, State
from tests.fakes.processes import eventually
from tracer.format.errors import TraceError
from vmspec.devices.regions import Region
from vmspec.plan.plan import PlannedDevice
from vmspec.trace.record import FLAGS

pytestmark = pytest.mark.kvm

HLT = "f4"
SPIN = "eb fe"  # jmp to itself: no exits
FLOOD = "e6 80 eb fc"  # out 0x80, al, for ever
PRINT_FOR_EVER = "ba f8 03 b0 78 ee eb fd"  # mov dx, 0x3f8; mov al, 'x'; out dx, al, for ever
DEBUG = {"kind": "debug-port"}
SERIAL = {"kind": "serial", "input": "none"}

# An own device that answers reads with 0x30, 0x31, ...
KEEP = """
from runner.devices import Device

class Keep(Device):
    count = 0x2F

    def read(self, region, offset, size):
        self.count += 1
        return self.count
"""
KEEPER = {"kind": "python", "class": "keep:Keep"}


def rows(result):
    return tracer.load(result.trace).table.to_pylist()


def exits(result, *columns):
    return [tuple(row[column] for column in columns) for row in rows(result)]


def outcome(result):
    return result.kind, result.status


def test_a_machine_without_interrupts_ends_when_all_its_vcpus_have_halted(run_guest):
    assert outcome(run_guest(HLT, vm={"vcpus": 3})) == ("halt", 0)


def test_a_vcpu_that_runs_on_keeps_the_machine_going(run_guest, assemble):
    # Each vCPU takes a number from the device; number 0 spins.
    code = assemble("mov $0x300, %dx\n in %dx, %al\n 1: cmp $0x30, %al\n je 1b\n hlt")
    result = run_guest(
        code, vm={"vcpus": 2, "timeout": "500ms"}, files={"keep.py": KEEP}, devices=[KEEPER | {"port": [0x300, 1]}]
    )
    assert (outcome(result), result.counters.get("hlt")) == (("timeout", 5), 1)


# The state after INIT (Intel SDM volume 3, table 10-1).
RESET = State(
    registers={"rax": 0, "rdx": 0x306C3, "rip": 0xFFF0, "rflags": 2},
    segments={
        "cs": Segment(selector=0xF000, base=0xFFFF0000),
        **{name: Segment() for name in ("ds", "es", "fs", "gs", "ss")},
    },
    cr0=0x60000010,
)
TRIPLE_FAULT = "0f 0b"  # ud2, in protected mode without an interrupt table
PROTECTED = {"mode": "protected"}


def test_a_triple_fault(run_guest):
    assert outcome(run_guest(TRIPLE_FAULT, boot=PROTECTED)) == ("triple-fault", 4)


@pytest.fixture
def crash(run_guest):
    return run_guest(f"90 e6 80 {TRIPLE_FAULT}", boot=PROTECTED | {"registers": {"rax": 0x11223344}})


def test_a_crash_report_is_saved_beside_the_trace(crash, tmp_path):
    path = tmp_path / "guest.crash.txt"
    assert (crash.report_path, path.read_text()) == (path, crash.report)


@pytest.mark.parametrize(
    "text",
    [
        "vCPU 0 triple-faulted", "protected mode, 32-bit code, paging off, CPL 0", "rax 0000000011223344",
        "KVM_RUN of vCPU 0", "#0 ", "io write 0x80 size 1 data 0x44 unclaimed", "shutdown",
    ],
)  # fmt: skip
def test_a_crash_report_says(crash, text):
    assert text in crash.report


@pytest.fixture
def resetting(monkeypatch):
    """Has this host's KVM bring a vCPU whose guest has shut down into the state after INIT, as kvm_amd does."""
    was_reset = VcpuThread.was_reset

    def reset(thread):
        if not was_reset(thread):
            thread.vcpu.set_sregs(RESET)
            thread.vcpu.set_regs(RESET.registers)
        return was_reset(thread)

    monkeypatch.setattr(VcpuThread, "was_reset", reset)


@pytest.mark.parametrize(
    "text",
    [
        "The vCPU is in the state after a reset", "the guest's at the previous exit, ", "rax 0000000011223344",
        "protected mode, 32-bit code", "cs 0010  base 0000000000000000", "at 0x1003: 0f 0b",
        "io write 0x80 size 1 data 0x44",
    ],
)  # fmt: skip
def test_the_report_of_a_vcpu_that_was_reset_shows_the_guest_at_the_exit_before(resetting, crash, text):
    assert text in crash.report.replace("0x1001", "0x1003")  # some hosts show the RIP of the instruction itself


def test_memory_at_the_exit_before_is_found_by_the_page_tables_of_then(resetting, run_guest):
    # The last 2 MiB of the address space are mapped to physical 0; at -4 there are out 0x80, al and ud2.
    code = (
        "48a10000090000000000 48a3f80f090000000000 48a10010090000000000 48a3f81f090000000000 48b88300000000000000"
        "48a3f82f090000000000 0f20d80f22d8 b8e6800f0b a3fcff1f0000000000 48c7c0fcffffff ffe0"
    )
    report = run_guest(code, vm={"memory": "2MiB"}, boot={"mode": "long"}).report
    assert ("after a reset" in report, "at 0xfffffffffffffffe: 0f 0b" in report) == (True, True), report


def test_the_row_of_a_vcpu_that_was_reset_has_no_rip(resetting, crash):
    assert [(row["rip"] > 0, row["flags"] & FLAGS["RIP"] > 0) for row in rows(crash)] == [(True, True), (False, False)]


def test_the_row_of_a_triple_fault_has_the_guests_rip_where_the_host_tells_it(crash):
    assert (rows(crash)[-1]["rip"], rows(crash)[-1]["flags"] & FLAGS["RIP"]) == (0x1003, FLAGS["RIP"])


def test_a_reset_vcpu_without_an_exit_before(resetting, run_guest):
    report = run_guest(TRIPLE_FAULT, boot=PROTECTED).report
    assert ("No earlier ones were kept: there was no exit before" in report, "rax" in report) == (True, False)


def test_a_reset_vcpu_whose_registers_are_not_kept(resetting, run_guest):
    report = run_guest(f"e6 80 {TRIPLE_FAULT}", boot=PROTECTED, trace={"rip": False}).report
    assert ("No earlier ones were kept" in report, "io write 0x80" in report) == (True, True)


def test_a_crash_keeps_its_trace(crash):
    assert exits(crash, "reason") == [("io",), ("shutdown",)]


def test_a_crash_without_a_trace_is_reported_all_the_same(run_guest):
    result = run_guest(f"e6 80 {TRIPLE_FAULT}", boot=PROTECTED, trace=None)
    assert (result.report_path, "io write 0x80" in result.report) == (None, True)


def test_a_triple_fault_that_is_expected(run_guest):
    result = run_guest(TRIPLE_FAULT, boot=PROTECTED, expect={"exit": ["triple-fault"]})
    assert (outcome(result), result.report) == (("triple-fault", 0), "")


def test_a_jump_out_of_ram(run_guest):
    result = run_guest("ea 10 00 ff ff")  # ljmp 0xffff:0x10, the first address above 1 MiB
    assert (outcome(result), "at 0x100000: no mapped RAM" in result.report) == (("internal-error", 4), True)


def test_an_instruction_that_the_hosts_kvm_cannot_execute(run_guest):
    result = run_guest("90 cc f4", boot=PROTECTED)  # int3
    if result.kind != "internal-error":
        pytest.skip("this host's KVM executes int3")
    assert (result.status, "at 0x1001: cc f4" in result.report) == (4, True)


def test_a_loop_without_exits_ends_promptly(run_guest):
    begin = time.monotonic()
    result = run_guest(SPIN, vm={"timeout": "300ms"})
    assert (outcome(result), result.seconds >= 0.3, time.monotonic() - begin < 10) == (("timeout", 5), True, True)


@pytest.mark.parametrize("vcpus", [1, 2])
def test_a_flood_of_an_unclaimed_port_keeps_its_trace(run_guest, vcpus):
    result = run_guest(FLOOD, vm={"timeout": "300ms", "vcpus": vcpus})
    table = tracer.load(result.trace).table
    assert (outcome(result), table.num_rows) == (("timeout", 5), result.counters["io"])


@pytest.mark.parametrize("code", [SPIN, FLOOD, PRINT_FOR_EVER])
def test_no_stop_is_lost(run_guest, code):
    for milliseconds in range(1, 16):
        begin = time.monotonic()
        result = run_guest(code, devices=[SERIAL], vm={"timeout": f"{milliseconds}ms", "vcpus": 3}, trace=None)
        assert (result.kind, time.monotonic() - begin < 5) == ("timeout", True)


def test_a_timeout_that_is_expected(run_guest):
    assert outcome(run_guest(SPIN, vm={"timeout": "100ms"}, expect={"exit": ["timeout"]})) == ("timeout", 0)


def test_an_expected_text_that_never_comes(run_guest):
    result = run_guest(HLT, devices=[DEBUG], expect={"console": ["login:"]})
    assert (result.status, [(one.key, one.came) for one in result.unmet]) == (
        1,
        [("expect.console[0]", "the console printed nothing")],
    )


def test_debug_exit_chooses_the_status(run_guest):
    assert outcome(run_guest("b0 10 e6 f4 eb fe", devices=[{"kind": "debug-exit"}])) == ("debug-exit", 33)


def test_the_write_that_ended_the_run_is_recorded(run_guest):
    result = run_guest("b0 10 e6 f4 eb fe", devices=[{"kind": "debug-exit"}])
    assert exits(result, "addr", "data", "device") == [(0xF4, 0x10, "debug-exit0")]


# Devices of one's own

FAILING = (
    "from runner.devices import Device\n\nclass Keep(Device):\n"
    "    def write(self, region, offset, size, value):\n        {}\n"
)


def test_a_device_that_raises(run_guest):
    result = run_guest(
        f"e6 80 {SPIN}", devices=[KEEPER | {"port": [0x80, 1]}],
        files={"keep.py": FAILING.format("raise LookupError('no such value')")},
    )  # fmt: skip
    assert outcome(result) == ("device-error", 2)
    assert re.fullmatch(r"device python0 raised LookupError: no such value \(.*/keep\.py:5\)", result.detail)


def test_a_device_that_exits(run_guest):
    result = run_guest(
        f"e6 80 {SPIN}",
        devices=[KEEPER | {"port": [0x80, 1]}],
        files={"keep.py": FAILING.format("raise SystemExit(3)")},
    )
    assert outcome(result) == ("device-error", 2)


def test_a_device_that_cannot_be_made_leaves_nothing(run_guest, tmp_path, descriptors):
    before = descriptors()
    with pytest.raises(DeviceError, match="Keep"):
        run_guest(HLT, devices=[KEEPER | {"port": [0x80, 1]}], files={"keep.py": "class Keep: pass\n"})
    assert ({path.name for path in tmp_path.iterdir()}, descriptors()) == ({"guest.toml", "keep.py"}, before)


ANY = """
from asyncio import CancelledError
from runner.devices import Device

class Keep(Device):
    failing = {method!r}
    def __init__(self):
        self.call("__init__")
    def call(self, method):
        if method == self.failing:
            raise {error}("lost")
    def start(self):
        self.call("start")
        self.bus.writes("port", 0, "coalesced")
        self.after(1000)
    def read(self, region, offset, size):
        self.call("read")
        return 0
    def write(self, region, offset, size, value):
        self.call("write")
    def written(self, region, offset, size, data):
        self.call("written")
    def tick(self):
        self.call("tick")
    def close(self):
        self.call("close")
"""
ERRORS = ["OSError", "CancelledError", "KeyboardInterrupt", "GeneratorExit", "SystemExit"]
# What a guest does so that the method is called: reads, writes two bytes at once, queues a byte, waits.
CALLS = {"read": f"e4 80 {SPIN}", "write": f"e7 80 {SPIN}", "written": "e6 80 f4", "tick": SPIN, "close": HLT}


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("method", CALLS)
def test_whatever_a_device_raises_is_its_error(run_guest, method, error):
    before = threading.active_count()
    files = {"keep.py": ANY.format(method=method, error=error)}
    result = run_guest(CALLS[method], files=files, devices=[KEEPER | {"port": [0x80, 2]}])
    assert (outcome(result), threading.active_count()) == (("device-error", 2), before)
    assert result.detail.startswith(f"device python0 raised {error}") or "CancelledError: lost" in result.detail


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("method", ["__init__", "start"])
def test_whatever_a_device_raises_before_the_run_is_its_error(run_guest, method, error):
    files = {"keep.py": ANY.format(method=method, error=error)}
    with pytest.raises(DeviceError, match=error):
        run_guest(HLT, files=files, devices=[KEEPER | {"port": [0x80, 2]}])


def test_all_devices_that_failed_are_told(run_guest):
    files = {"keep.py": ANY.format(method="close", error="OSError")}
    result = run_guest(HLT, files=files, devices=[KEEPER | {"port": [0x80, 2]}, KEEPER | {"port": [0x90, 2]}])
    assert [line.split(" (")[0] for line in (result.detail, *result.notes)] == [
        f"device python{number} raised OSError: lost" for number in (0, 1)
    ]


def test_a_crash_stays_one_where_a_device_fails_as_well(run_guest):
    files = {"keep.py": ANY.format(method="close", error="OSError")}
    result = run_guest(TRIPLE_FAULT, boot=PROTECTED, files=files, devices=[KEEPER | {"port": [0x80, 2]}])
    assert (result.kind, [note.split(" (")[0] for note in result.notes]) == (
        "triple-fault", ["device python0 raised OSError: lost"],
    )  # fmt: skip


@pytest.mark.parametrize("method", ["room", "receive"])
def test_input_that_a_device_fails_to_take(method):
    from runner.machine.bus import Buses
    from runner.machine.clock import HostClock
    from runner.machine.inputs import Inputs

    class Failing(Device):
        def room(self):
            return self.call("room")

        def receive(self, data):
            self.call("receive")

        def call(self, name):
            if name == method:
                raise KeyboardInterrupt
            return 1

    failures = []
    planned = PlannedDevice("python0", "python", {}, (Region("port", "port", 1, 0x80),))
    buses = Buses([planned], HostClock(), Inputs(), failures.append)
    buses.devices.append(Failing())
    buses.room(0, pytest.fail)
    buses.receive(0, b"x")
    buses.close()
    assert [str(failure).split(" (")[0] for failure in failures] == ["device python0 raised KeyboardInterrupt"]


# The access that a vCPU's device is still thinking about is not complete, and not recorded.
@pytest.mark.parametrize(("method", "recorded"), [("write", []), ("written", [(0x80,)])])
def test_a_device_that_does_not_come_back(run_guest, monkeypatch, method, recorded):
    monkeypatch.setattr("runner.machine.machine.PATIENCE", 0.2)
    before = threading.enumerate()
    read, write = os.pipe()
    result = run_guest(
        f"e6 80 {SPIN}", devices=[KEEPER | {"port": [0x80, 1]}], files={"keep.py": HANGING[method].format(read)}
    )
    assert (outcome(result), exits(result, "addr")) == (("device-error", 2), recorded)
    assert result.detail.startswith("device python0 does not return")
    os.close(write)  # its thread comes back to a machine that is still there
    eventually(lambda: set(threading.enumerate()) <= set(before), "a thread does not end")
    os.close(read)


def test_a_vcpu_that_does_not_leave_kvm(run_guest, monkeypatch):
    monkeypatch.setattr("runner.machine.machine.PATIENCE", 0.2)
    before, stop = threading.enumerate(), VcpuThread.stop
    stopped: set[VcpuThread] = set()

    def ignore(thread):
        stopped.add(thread)

    monkeypatch.setattr(VcpuThread, "stop", ignore)
    result = run_guest(SPIN, vm={"timeout": "100ms"})
    assert (result.kind, result.detail) == ("kvm-error", "vcpu0 does not return from KVM_RUN")
    stop(*stopped)
    eventually(lambda: set(threading.enumerate()) <= set(before), "a thread does not end")


# Devices that interrupt the run, and wait for the end of a pipe.
HANGING = {
    "write": """
import os, signal
from runner.devices import Device

class Keep(Device):
    def write(self, region, offset, size, value):
        os.kill(os.getpid(), signal.SIGINT)
        os.read({}, 1)
""",
    "written": """
import os, signal
from runner.devices import Device

class Keep(Device):
    def start(self):
        self.bus.writes("port", 0, "coalesced")

    def written(self, region, offset, size, data):
        os.kill(os.getpid(), signal.SIGINT)
        os.read({}, 1)
""",
}


def test_the_guest_leaves_at_the_exit_that_ends_the_run(run_guest):
    # Reset by the keyboard controller, then output for ever.
    for _ in range(5):
        result = run_guest("b0 fe e6 64" + FLOOD, devices=[{"kind": "i8042"}])
        assert (outcome(result), exits(result, "addr", "data")) == (("reset", 0), [(0x64, 0xFE)])


def test_a_device_that_ends_the_run_as_it_starts(run_guest):
    device = "from runner.devices import Device\nclass Keep(Device):\n def start(self):\n  self.end('reset', None)\n"
    result = run_guest(FLOOD, files={"keep.py": device}, devices=[KEEPER | {"port": [0x300, 1]}])
    assert (outcome(result), result.counters, rows(result)) == (("reset", 0), {"dropped": 0}, [])


ENDS_WITH = """
from runner.devices import Device

class Keep(Device):
    def read(self, region, offset, size):
        self.end("debug-exit", {status})
        return 0
"""


@pytest.mark.parametrize("status", ["256", "-1", "'x'"])
def test_a_status_that_no_process_can_have_is_the_devices_error(run_guest, status):
    files = {"keep.py": ENDS_WITH.format(status=status)}
    result = run_guest("e4 80 f4", files=files, devices=[KEEPER | {"port": [0x80, 1]}])
    assert (outcome(result), "a status from 0 to 255" in result.detail) == (("device-error", 2), True)


@pytest.mark.parametrize("failure", ["raise ValueError('boom')", "raise SystemExit(0)"])
def test_a_device_that_cannot_start(run_guest, failure):
    files = {"keep.py": f"from runner.devices import Device\nclass Keep(Device):\n def start(self):\n  {failure}"}
    with pytest.raises(DeviceError, match="python0 failed to start"):
        run_guest(HLT, files=files, devices=[KEEPER | {"port": [0x80, 1]}])


# Interrupted


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interrupt_while_the_run_begins(run_guest, monkeypatch, when):
    from runner.session.session import Session

    started = Session._started

    def interrupted(session):
        if when == "after":
            started(session)
        raise KeyboardInterrupt

    monkeypatch.setattr(Session, "_started", interrupted)
    result = run_guest(FLOOD)
    assert (outcome(result), tracer.load(result.trace).complete) == (("interrupted", 130), True)


def test_an_interrupt_while_the_threads_end(run_guest, monkeypatch):
    from runner.machine.machine import Machine

    stop, calls = Machine._stop, []

    def interrupted(machine, deliverer):
        calls.append(deliverer)
        if len(calls) == 1:
            raise KeyboardInterrupt
        stop(machine, deliverer)

    monkeypatch.setattr(Machine, "_stop", interrupted)
    assert outcome(run_guest(SPIN, vm={"timeout": "200ms"})) == ("timeout", 5)


# What only other guests or hosts do


@pytest.mark.parametrize(
    ("event", "ending", "detail"),
    [
        (1, ("poweroff", 1), ""),
        (2, ("reset", 1), ""),
        (3, ("guest-panic", 4), "vCPU 0: the guest reported its own crash"),
        (5, ("unexpected-exit", 4), "KVM_EXIT_SYSTEM_EVENT SUSPEND, which vmrun does not handle"),
        (99, ("unexpected-exit", 4), "KVM_EXIT_SYSTEM_EVENT of type 99, which vmrun does not handle"),
    ],
)
def test_system_events(run_guest, monkeypatch, event, ending, detail):
    monkeypatch.setattr(VcpuThread, "exit_reason", 24)
    monkeypatch.setattr(VcpuThread, "system_event", lambda thread: event)
    result = run_guest(HLT, expect={"exit": ["halt"]})
    assert (outcome(result), result.detail, bool(result.report)) == (ending, detail, ending[1] == 4)


PANIC = """
from runner.devices import Device

class Panic(Device):
    def start(self):
        if QUEUED:
            self.bus.writes("port", 0, "coalesced")
            self.bus.flush_at_once(True)

    def write(self, region, offset, size, value):
        self.end("guest-panic")
"""


@pytest.mark.parametrize("queued", [False, True])
def test_a_crash_that_a_device_reports_has_a_crash_report(run_guest, assemble, tmp_path, queued):
    (tmp_path / "panic.py").write_text(PANIC.replace("QUEUED", str(queued)))
    device = {"kind": "python", "class": "panic:Panic", "port": [0x300, 1]}
    code = assemble("mov $0x300, %dx\n mov $0x55, %al\n out %al, %dx\n 1: jmp 1b")
    result = run_guest(code, devices=[device], expect={"exit": ["halt"]})
    who = "" if queued else "vCPU 0: "
    assert (outcome(result), result.detail) == (
        ("guest-panic", 4), f"{who}the guest reported its own crash to python0"
    )  # fmt: skip
    assert result.report == result.report_path.read_text()
    for part in (result.detail, "KVM_RUN of vCPU 0", "rax 0000000000000055", "real mode, 16-bit", "io write 0x300"):
        assert part in result.report


def test_the_crash_report_is_of_the_vcpu_that_reported(run_guest, assemble, tmp_path):
    """Each vCPU takes a number from the device; number 1 panics, the others wait."""
    source = (
        PANIC.replace("QUEUED", "False")
        + """
    count = 0x2F

    def read(self, region, offset, size):
        self.count += 1
        return self.count
"""
    )
    (tmp_path / "panic.py").write_text(source)
    device = {"kind": "python", "class": "panic:Panic", "port": [0x300, 1]}
    code = assemble("mov $0x300, %dx\n in %dx, %al\n 1: cmp $0x31, %al\n jne 1b\n out %al, %dx\n 2: jmp 2b")
    result = run_guest(code, vm={"vcpus": 2}, devices=[device])
    index = re.match(r"vCPU (\d): the guest reported", result.detail)[1]
    assert f"KVM_RUN of vCPU {index}" in result.report
    assert "rax 0000000000000031" in result.report


# What the host lacks


def test_a_missing_capability_is_named(run_guest, lacking):
    lacking("KVM_CAP_IRQCHIP")
    with pytest.raises(HostError, match="lacks KVM_CAP_IRQCHIP, which KVM_CREATE_IRQCHIP needs"):
        run_guest(HLT, vm={"irqchip": "kernel"})


def test_a_host_whose_vcpus_could_not_be_stopped(run_guest, lacking):
    lacking("KVM_CAP_IMMEDIATE_EXIT")
    with pytest.raises(HostError, match="lacks KVM_CAP_IMMEDIATE_EXIT, which KVM_RUN needs"):
        run_guest(HLT)


def test_a_host_that_cannot_run_the_machine_leaves_nothing_open(run_guest, lacking, descriptors):
    lacking("KVM_CAP_IRQCHIP")
    before = descriptors()
    with pytest.raises(HostError):
        run_guest(HLT, vm={"irqchip": "kernel"})
    assert descriptors() == before


@pytest.mark.parametrize("name", ["KVM_CAP_SET_TSS_ADDR", "KVM_CAP_SET_IDENTITY_MAP_ADDR", "KVM_CAP_BINARY_STATS_FD"])
def test_a_host_may_lack(run_guest, lacking, name):
    lacking(name)
    assert outcome(run_guest(HLT)) == ("halt", 0)


@pytest.mark.parametrize("allowed", range(6))  # loader, two vCPUs, devices, input, recorder
def test_a_host_that_starts_no_more_threads(run_guest, monkeypatch, tmp_path, descriptors, allowed):
    run_guest(HLT)  # a process has its recorder from its first run on
    (tmp_path / "guest.arrow").unlink()
    start, left = threading.Thread.start, [allowed]

    def limited(thread):
        if not left[0]:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    before = descriptors()
    with pytest.raises(HostError, match="starts no more threads; allow more with ulimit -u"):
        run_guest(HLT, devices=[SERIAL | {"input": "input"}], files={"input": ""}, vm={"vcpus": 2})
    assert ({path.name for path in tmp_path.iterdir()}, descriptors()) == ({"guest.toml", "input"}, before)


def test_a_guest_that_ends_while_an_error_of_the_host_stops_it(run_guest, monkeypatch):
    enter, ended, stops = lifecycle.Lifecycle.enter, Machine._vcpu_ended, threading.Event()

    def entered(life, state):
        enter(life, state)
        if state is lifecycle.State.ENDED:
            stops.set()

    def ended_late(machine, thread):
        stops.wait(10)
        ended(machine, thread)

    def failing(*_):
        raise HostError("the terminal is gone")

    monkeypatch.setattr(lifecycle.Lifecycle, "enter", entered)
    monkeypatch.setattr(Machine, "_vcpu_ended", ended_late)
    monkeypatch.setattr(Machine, "_wait", failing)
    with pytest.raises(HostError, match="the terminal is gone"):  # and no error of the vCPU's thread, which pytest sees
        run_guest(HLT)


def test_a_link_for_a_trace_that_leads_nowhere(run_guest, tmp_path):
    (tmp_path / "guest.arrow").symlink_to("missing/boot.arrow")
    with pytest.raises(TraceError, match=r"a link that leads into .*/missing: there is no such directory"):
        run_guest(HLT)
    assert {path.name for path in tmp_path.iterdir()} == {"guest.toml", "guest.arrow"}


def test_a_link_for_a_trace_that_leads_to_no_file_yet(run_guest, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "guest.arrow").symlink_to("elsewhere/boot.arrow")
    run_guest(HLT)
    assert tracer.load(tmp_path / "elsewhere/boot.arrow").complete


def test_a_trace_whose_name_is_needed_for_its_rings(run_guest, tmp_path):
    with pytest.raises(TraceError, match="vmrun uses this name while it records"):
        run_guest(HLT, trace={"path": "guest.ring"})
    assert {path.name for path in tmp_path.iterdir()} == {"guest.toml"}


def test_a_trace_that_another_run_is_writing(write_spec):
    from runner.session.session import run

    spec = write_spec(SPIN, vm={"timeout": "1500ms"})
    other = threading.Thread(target=run, args=(spec,))
    other.start()
    time.sleep(0.5)
    with pytest.raises(TraceError, match="another vmrun is recording"):
        run(spec)
    other.join()


def test_a_guest_that_dies_at_the_top_of_the_address_space_gets_its_report(run_guest):
    # The last 2 MiB of the address space are mapped to physical 0; the jump goes to -4, where ud2 lies.
    code = (
        "48a10000090000000000 48a3f80f090000000000 48a10010090000000000 48a3f81f090000000000 48b88300000000000000"
        "48a3f82f090000000000 0f20d80f22d8 66b80f0b 66a3fcff1f0000000000 48c7c0fcffffff ffe0"
    )
    result = run_guest(code, vm={"memory": "2MiB"}, boot={"mode": "long"})
    assert (result.status, "fffffffffffffffc" in result.report) == (4, True)
