"""Inputs from outside: each is stamped, and then has its effect."""

import subprocess
import sys
import threading
import time

import pytest

import tracer
from runner.devices import Device
from runner.machine.bus import Buses
from runner.machine.clock import HostClock
from runner.machine.inputs import AdmittedInterrupt, AdmittedMessage, Inputs
from runner.recording.rings import Rings
from tests.guests import uart
from vmspec.devices.regions import Region
from vmspec.plan.plan import PlannedDevice
from vmspec.trace.files import table_path, table_stream_path
from vmspec.trace.inputs import Input

DEBUG = {"kind": "debug-port"}


@pytest.fixture
def rings():
    made = Rings(2, 64, "wait", None)
    made.start(1_000_000)
    yield made
    made.close()


@pytest.fixture
def kept():
    return []


@pytest.fixture
def inputs(kept):
    made = Inputs()
    made.keep = kept.append
    return made


def exits(make_loop, rings, count):
    """Let the first vCPU of a machine without devices make so many exits."""
    buses = Buses([], HostClock(), Inputs(), pytest.fail)
    loop = make_loop(buses.bus, rings.ring(0))
    for _ in range(count):
        loop.io(0x80, 1, b"a", write=True)
    buses.close()


def test_an_input_is_stamped_with_the_exits_that_were_complete(inputs, kept, rings, make_loop):
    inputs.begin(rings, [])
    done = []
    for count in (3, 2):
        exits(make_loop, rings, count)
        inputs.admit("bytes", lambda: done.append(len(kept)), device=1, data=b"x")
    assert [(row.vcpu, row.seq, row.kind, row.device, row.data) for row in kept] == [
        (0, 3, "bytes", 1, b"x"),
        (0, 5, "bytes", 1, b"x"),
    ]
    assert done == [1, 2]  # stamped before the effect
    assert 0 < kept[0].t <= kept[1].t <= rings.elapsed()


def test_what_comes_before_the_guest_runs_is_at_the_start(inputs, kept):
    inputs.admit("end", lambda: None, data=b"interrupted")
    assert kept == [Input(0, 0, 0, "end", -1, 0, b"interrupted")]


def test_what_a_vcpus_thread_brings_about_is_no_input(inputs, kept, rings):
    inputs.begin(rings, [threading.Thread(), threading.current_thread()])
    done = []
    inputs.admit("interrupt", lambda: done.append(1))
    other = threading.Thread(target=lambda: inputs.admit("interrupt", lambda: done.append(2)))
    other.start()
    other.join()
    assert (done, len(kept)) == ([1, 2], 1)


def test_inputs_that_nobody_keeps_have_their_effect():
    done = []
    Inputs().admit("timer", lambda: done.append(1))
    assert done == [1]


class Wire:
    def __init__(self):
        self.calls = []

    def set(self, level):
        self.calls.append(level)

    def pulse(self):
        self.calls.append("pulse")

    def eventfd(self):
        return 7

    def route(self, address, data):
        self.calls.append((address, data))


def test_interrupts_pass_the_door_with_what_they_do(inputs, kept):
    wire = Wire()
    line, message = AdmittedInterrupt(wire, inputs, 2), AdmittedMessage(wire, inputs, 3)
    line.set(True)
    line.set(False)
    line.pulse()
    message.route(0xFEE00000, 0x41)
    message.pulse()
    assert [(row.kind, row.device, row.value) for row in kept] == [
        ("interrupt", 2, 1),
        ("interrupt", 2, 0),
        ("interrupt", 2, 2),
        ("interrupt", 3, 2),
    ]
    assert wire.calls == [True, False, "pulse", (0xFEE00000, 0x41), "pulse"]
    assert (line.eventfd(), message.eventfd()) == (7, 7)


def test_the_hosts_bytes_and_timers_pass_the_door(inputs, kept):
    class Notes(Device):
        def __init__(self):
            self.calls = []

        def receive(self, data):
            self.calls.append((data, len(kept)))

        def tick(self):
            self.calls.append(("tick", len(kept)))

    planned = [PlannedDevice("d0", "python", {}, (Region("port", "port", 1, 0x300),))]
    buses = Buses(planned, HostClock(), inputs, pytest.fail)
    buses.devices.append(Notes())
    buses.receive(0, b"abc")
    buses.after(0, 0)
    buses.deliver()
    assert [(row.kind, row.device, row.data) for row in kept] == [("bytes", 0, b"abc"), ("timer", 0, b"")]
    assert buses.devices[0].calls == [(b"abc", 1), ("tick", 2)]
    buses.close()


# With the host's KVM, and recorded

# Prints three bytes from the UART, then waits for ever.
POLL = f"""
    mov $3, %cx
1:  {uart.RECEIVE}
    out %al, $0xe9
    loop 1b
    mov $0x300, %dx
    out %al, %dx
2:  pause
    jmp 2b
"""
# Asks for a tick when it is written to, and interrupts then.
LATER = """
from runner.devices import Device


class Later(Device):
    def write(self, region, offset, size, value):
        self.irq.set(True)
        self.irq.set(False)
        self.after(1)

    def tick(self):
        self.irq.pulse()
"""


@pytest.fixture
def recorded(run_guest, assemble, tmp_path):
    """The inputs of a guest that gets three bytes and a timer, and runs until its time is out."""
    (tmp_path / "typed").write_bytes(b"abc")
    serial = {"kind": "serial", "input": "typed", "output": "none"}
    later = {"kind": "python", "class": "later:Later", "port": [0x300, 1], "irq": 5}
    result = run_guest(
        assemble(POLL),
        devices=[DEBUG, serial, later],
        files={"later.py": LATER},
        vm={"irqchip": "kernel", "pit": False, "timeout": "1s"},
        trace={"inputs": True},
    )
    assert (result.kind, result.console) == ("timeout", b"abc")
    return tracer.load(tmp_path / "guest.arrow")


@pytest.mark.kvm
def test_inputs_are_recorded_beside_the_exits(recorded):
    inputs = recorded.tables["inputs"]
    rows = inputs.table.to_pylist()
    assert [(row["kind"], row["device"], row["value"], row["data"]) for row in rows] == [
        ("bytes", "serial0", 0, b"abc"),
        ("timer", "python0", 0, b""),
        ("interrupt", "python0", 2, b""),
        ("end", "-", 0, b"timeout"),
    ]
    assert (inputs.complete, inputs.summary["rows"]) == (True, 4)


@pytest.mark.kvm
def test_the_exits_before_an_input_are_those_of_its_number(recorded):
    """The three bytes were read after they had come, and the timer was asked for before it came."""
    exits = recorded.table.to_pylist()
    came = {row["kind"]: row for row in recorded.tables["inputs"].table.to_pylist()}
    read = [row["seq"] for row in exits if row["reason"] == "io" and row["addr"] == 0x3F8]
    [asked] = [row["seq"] for row in exits if row["device"] == "python0"]
    assert came["bytes"]["seq"] <= read[0] < read[-1] < asked
    assert asked <= came["timer"]["seq"] <= came["interrupt"]["seq"] <= came["end"]["seq"] <= len(exits)
    for row in came.values():
        before = [exit_["t_entry"] for exit_ in exits if exit_["seq"] < row["seq"]]
        assert not before or before[-1] <= row["t"]


@pytest.mark.kvm
def test_nothing_is_recorded_that_nobody_asked_for(run_guest, tmp_path):
    run_guest("f4")
    assert not table_path(tmp_path / "guest.arrow", "inputs").exists()


@pytest.mark.kvm
def test_inputs_that_cannot_be_written_end_the_run(run_guest, tmp_path):
    (tmp_path / "guest.inputs.arrow" / "in the way").mkdir(parents=True)
    result = run_guest("eb fe", trace={"inputs": True}, vm={"timeout": "1s"})
    assert (result.kind, result.status) == ("trace-failed", 6)
    assert f"cannot write the inputs, {tmp_path}/guest.inputs.arrow: " in result.detail
    assert f"the rows written so far are in {tmp_path}/guest.inputs.arrows" in result.detail


def wait_for(path):
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.02)


@pytest.mark.kvm
def test_a_vmm_that_is_killed_leaves_its_inputs(write_spec, assemble, tmp_path):
    """Each was sent to the recorder before it had its effect, so what the guest has read is there."""
    (tmp_path / "typed").write_bytes(b"abc")
    serial = {"kind": "serial", "input": "typed", "output": "none"}
    later = {"kind": "python", "class": "later:Later", "port": [0x300, 1]}
    spec = write_spec(assemble(POLL), devices=[DEBUG, serial, later], files={"later.py": LATER}, trace={"inputs": True})
    command = [sys.executable, "-m", "runner.cli", str(spec)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as vmm:
        assert vmm.stdout.read(3) == b"abc"
        wait_for(table_stream_path(tmp_path / "guest.arrow", "inputs"))  # the recorder has the run
        vmm.kill()
    wait_for(table_path(tmp_path / "guest.arrow", "inputs"))
    inputs = tracer.load(tmp_path / "guest.arrow").tables["inputs"]
    rows = inputs.table.to_pylist()
    assert (rows[0]["kind"], rows[0]["data"]) == ("bytes", b"abc")
    assert inputs.complete
