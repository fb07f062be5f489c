"""Pause and resume: tiny guests whose memory says whether they run, and what time they have."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import runner
import tracer
from runner.kvm.system import System
from runner.machine.lifecycle import LifecycleError, State
from runner.machine.loading import Loader
from runner.machine.machine import Machine
from runner.native import _native
from tests.fakes.processes import children, eventually
from tests.guests import tsc, uart
from tracer.analysis.account import account
from tracer.analysis.summary import summarise
from tracer.read.recovery import recover
from tracer.read.ringfile import RingFile
from vmspec.document import Document

pytestmark = pytest.mark.kvm

lib = _native.lib
SPIN = "eb fe"
COUNTERS, STRIDE = 0x8000, 16
# Each vCPU takes a number from the device, and then counts at 0x8000 + 16 * number.
COUNT = """
    mov $0x300, %dx
    in %dx, %al
    xor %bx, %bx
    mov %al, %bl
    shl $4, %bx
1:  incl 0x8000(%bx)
    jmp 1b
"""
NUMBERS = """
from runner.devices import Device


class Numbers(Device):
    given = 0

    def read(self, region, offset, size):
        self.given += 1
        return self.given - 1
"""
NUMBERED = {"kind": "python", "class": "numbers:Numbers", "port": [0x300, 1]}


def counter(run, vcpu=0):
    """How far a vCPU of the guest has counted."""
    return int.from_bytes(run._session.machine.memory.read(COUNTERS + STRIDE * vcpu, 8), "little")


def moves(run, vcpus=1):
    """Wait until each vCPU has counted on."""
    for vcpu in range(vcpus):
        before = counter(run, vcpu)
        eventually(lambda vcpu=vcpu, before=before: counter(run, vcpu) > before, f"vCPU {vcpu} stands still")


@pytest.fixture
def start(write_spec):
    """Starts a guest beside the test, and ends it with the test."""
    runs = []

    def begin(code, vm=None, **spec):
        vm = {"timeout": "600s"} | (
            vm or {}
        )  # a pause and its end take a while where the host has no processor to spare
        runs.append(runner.start(write_spec(code, vm=vm, **spec)))
        return runs[-1]

    yield begin
    for run in runs:
        run.stop()
        run.result(60)


@pytest.fixture
def count(start, assemble):
    """Starts a guest that counts."""

    def begin(vcpus=1, **spec):
        vm = {"vcpus": vcpus} | spec.pop("vm", {})
        return start(assemble(COUNT), vm=vm, devices=[NUMBERED], files={"numbers.py": NUMBERS}, **spec)

    return begin


@pytest.mark.parametrize("times", [200, pytest.param(1000, marks=pytest.mark.soak)])
@pytest.mark.parametrize("vcpus", [1, 4])
def test_a_guest_stands_still_each_time(count, vcpus, times, descriptors):
    run = count(vcpus)
    moves(run, vcpus)
    before = descriptors(), threading.active_count()
    for _ in range(times):
        assert run.pause()
        counts = [counter(run, vcpu) for vcpu in range(vcpus)]
        assert run.paused
        assert counts == [counter(run, vcpu) for vcpu in range(vcpus)]
        assert run.resume()
        assert not run.paused
    moves(run, vcpus)
    # What begins a run beside the guest may still have been at it.
    eventually(lambda: descriptors() <= before[0] and threading.active_count() <= before[1], "something was left")
    run.pause()
    counts = [counter(run, vcpu) for vcpu in range(vcpus)]
    time.sleep(0.1)
    assert counts == [counter(run, vcpu) for vcpu in range(vcpus)]


def test_a_block_keeps_a_guest_still_and_others_wait(count):
    run = count()
    moves(run)
    other = threading.Thread(target=run.resume)
    with run._session.machine.standing() as stands:
        assert stands
        other.start()
        before = counter(run)
        time.sleep(0.05)
        assert (counter(run), run.paused, other.is_alive()) == (before, True, True)
    other.join(60)
    assert not run.paused
    moves(run)
    run.pause()
    with run._session.machine.standing():
        pass
    assert run.paused
    run.stop()
    run.result(60)
    with run._session.machine.standing() as stands:
        assert not stands


def test_a_guest_runs_between_two_pauses(count):
    run = count()
    for _ in range(100):
        run.pause()
        stood = counter(run)
        run.resume()
        eventually(lambda stood=stood: counter(run) > stood, "it stands still")


def test_a_paused_vcpu_shows_its_whole_state(start, assemble):
    # Its last exit, a read, is complete: the value is in AL and the next instruction is at hand.
    run = start(
        assemble("mov $0x300, %dx\n 1: in %dx, %al\n jmp 1b"), devices=[NUMBERED], files={"numbers.py": NUMBERS}
    )
    device = run._session.machine.buses.devices[0]
    for _ in range(100):
        run.pause()
        registers = run._session.machine.vcpus[0].registers().general
        assert registers["rax"] & 0xFF == (device.given - 1) & 0xFF
        run.resume()
        given = device.given
        eventually(lambda given=given: device.given > given, "it stands still")


# States


def test_a_machine_that_does_not_run_yet_cannot_be_paused(write_spec):
    plan = Document.open(write_spec(SPIN)).plan()
    loader = Loader(plan)
    machine = Machine(plan, loader)
    assert machine.state is State.CREATED
    for change in (machine.pause, machine.resume):
        with pytest.raises(LifecycleError, match="does not run yet"):
            change()
    machine.close()
    loader.close()


def test_pausing_and_resuming_twice_changes_nothing(count):
    run = count()
    assert [run.pause(), run.pause(), run.paused] == [True, True, True]
    assert [run.resume(), run.resume(), run.paused] == [True, True, False]
    moves(run)


def test_a_run_that_has_ended_is_not_paused(start):
    run = start("f4")
    run.result(60)
    assert (run.pause(), run.resume(), run.paused) == (False, False, False)
    assert run._session.machine.state is State.ENDED


def test_a_pause_as_the_guest_ends(start):
    """Whichever comes first: the guest ends as it would, after the pause or before."""
    for _ in range(50):
        run = start("b9 00 08 e2 fe f4")  # some hundred microseconds of a loop, then hlt
        paused = run.pause()
        assert paused or run.result(60)
        run.resume()
        assert run.result(60).kind == "halt"


def test_pauses_of_many_threads(count):
    run = count(2)
    moves(run, 2)
    wrong = []

    def change():
        for _ in range(100):
            if not (run.pause() and run.resume()):
                wrong.append("it has ended")

    threads = [threading.Thread(target=change) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (wrong, run.paused) == ([], False)
    moves(run, 2)


def test_a_device_cannot_pause_its_own_machine(start):
    run = start(
        "ba 00 03 ec f4",
        devices=[{"kind": "python", "class": "own:Own", "port": [0x300, 1]}],
        files={
            "own.py": "from runner.devices import Device\n\n\nclass Own(Device):\n"
            "    def read(self, region, offset, size):\n        while not hasattr(self, 'pause'):\n            pass\n"
            "        self.pause()\n        return 0\n"
        },
    )
    run._session.machine.buses.devices[0].pause = run.pause
    result = run.result(60)
    assert (result.kind, "a device cannot pause its own machine" in result.detail) == ("device-error", True)


# The ends of a paused machine


def test_a_paused_run_can_be_stopped(count):
    run = count(2)
    moves(run, 2)
    run.pause()
    run.stop()
    result = run.result(60)
    assert (result.kind, tracer.load(result.trace).complete) == ("interrupted", True)


def test_a_stop_while_a_pause_waits_for_a_device(start):
    run = start("ba 00 03 ec f4", devices=[SLOW], files={"slow.py": SLOWLY})
    device = run._session.machine.buses.devices[0]
    assert device.called.wait(60)
    waited = []
    thread = threading.Thread(target=lambda: waited.append(run.pause(60)))
    thread.start()
    run.stop()
    thread.join(60)
    device.release.set()
    assert (waited, run.result(60).kind) == ([False], "interrupted")


def test_ctrl_c_ends_a_paused_run(write_spec):
    script = """
import os, signal, sys, threading, time
import runner
from runner.machine.machine import Machine
def pause(machine, begin=Machine._begin):
    def later(timeout):
        begin(machine, timeout)
        machine.pause()
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    return later
Machine._begin = property(pause)
print(runner.run(sys.argv[1]).kind)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, write_spec(SPIN)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("interrupted\n", "")


def test_the_time_of_a_pause_does_not_count_for_the_timeout(start):
    run = start(SPIN, vm={"timeout": "300ms"})
    assert run.pause()
    time.sleep(0.6)
    assert run.paused
    assert run.resume()
    result = run.result(60)
    [life] = account(tracer.load(result.trace)).vcpus.values()
    assert (result.kind, life.paused_ns > 500_000_000) == ("timeout", True)
    assert life.end - life.paused_ns > 250_000_000


# Devices and input

SLOWLY = """
import threading

from runner.devices import Device


class Slow(Device):
    def __init__(self):
        self.called, self.release = threading.Event(), threading.Event()

    def read(self, region, offset, size):
        self.called.set()
        self.release.wait(60)
        return 0x41
"""
SLOW = {"kind": "python", "class": "slow:Slow", "port": [0x300, 1]}
READ = "ba 00 03 ec eb fe"  # in al, dx; jmp to itself


def test_a_pause_waits_for_the_device_that_a_vcpu_has_asked(start):
    run = start(READ, devices=[SLOW], files={"slow.py": SLOWLY})
    machine = run._session.machine
    device = machine.buses.devices[0]
    assert device.called.wait(60)
    threading.Timer(0.2, device.release.set).start()
    assert run.pause()
    registers = machine.vcpus[0].registers().general
    assert (device.release.is_set(), registers["rax"] & 0xFF, registers["rip"] & 0xFFFF) == (True, 0x41, 0x1004)


def test_a_device_that_does_not_come_back_keeps_the_guest_running(start):
    run = start(READ, devices=[SLOW], files={"slow.py": SLOWLY})
    device = run._session.machine.buses.devices[0]
    assert device.called.wait(60)
    with pytest.raises(TimeoutError, match="device python0 does not return: vcpu0 waits for a read of its register"):
        run.pause(0.1)
    assert not run.paused
    device.release.set()
    assert run.pause()


def test_what_is_queued_for_a_device_reaches_it_before_the_pause_is_complete(start):
    run = start("b0 61 e6 e9 eb fe", devices=[{"kind": "debug-port"}])
    console = run._session.console
    while not console.text():
        run.pause()
        run.resume()
    assert console.text() == b"a"


TICKING = """
from runner.devices import Device


class Ticking(Device):
    ticks = 0

    def read(self, region, offset, size):
        return 0

    def start(self):
        self.after(0)

    def tick(self):
        self.ticks += 1
        self.after(1_000_000)
"""


def test_the_timers_of_devices_stand_still(start):
    ticking = {"kind": "python", "class": "ticking:Ticking", "port": [0x300, 1]}
    run = start(SPIN, devices=[ticking], files={"ticking.py": TICKING})
    machine = run._session.machine
    device = machine.buses.devices[0]
    eventually(lambda: device.ticks > 0, "no tick")
    for _ in range(20):
        assert run.pause()
        ticks, now = device.ticks, machine.clock.monotonic()
        time.sleep(0.01)
        assert (device.ticks, machine.clock.monotonic()) == (ticks, now)
        run.resume()
        eventually(lambda ticks=ticks: device.ticks > ticks, "no tick")


def test_input_waits_for_the_guest_to_go_on(write_spec, assemble):
    theirs, ours = os.pipe()
    devices = [{"kind": "debug-port"}, {"kind": "serial", "output": "none"}]
    with runner.start(write_spec(assemble(uart.PRINT), devices=devices), input=theirs) as run:
        assert run.pause()
        os.write(ours, b"abc")
        time.sleep(0.1)
        console = run._session.console
        assert console.text() == b""
        assert run.resume()
        eventually(lambda: console.text() == b"abc", "the input is lost")
    os.close(ours)
    os.close(theirs)


# Interrupts and time

# IRQ 0, each millisecond, counts at 0x8000; the guest is halted meanwhile.
TICKS = """
    mov $0x7000, %sp
    movw $handler, 0x20         # IRQ 0 is vector 8
    movw $0, 0x22
    .irp word, 0x1120, 0x0821, 0x0421, 0x0121, 0xfe21, 0x3443, 0xa940, 0x0440
    mov $\\word >> 8, %al
    out %al, $\\word & 0xff      # the PIC's ICW1 to 4 and mask; the PIT's channel 0, mode 2, every 1193 clocks
    .endr
    sti
1:  hlt
    jmp 1b
handler:
    incl 0x8000
    mov $0x20, %al
    out %al, $0x20
    iret
"""
PERIOD = 1_193 * 1e9 / 1_193_182  # ns


def test_a_halted_guest_stands_still_and_is_woken_afterwards(start, assemble):
    run = start(assemble(TICKS), vm={"irqchip": "kernel"})
    moves(run)
    for _ in range(100):
        assert run.pause()
        stood = counter(run)
        assert run.resume()
        eventually(lambda stood=stood: counter(run) > stood, "it sleeps on")


def test_the_ticks_of_a_pause_are_not_caught_up_on(start, assemble):
    begin = time.monotonic_ns()
    run = start(assemble(TICKS), vm={"irqchip": "kernel"})
    moves(run)
    assert run.pause()
    stood = time.monotonic_ns()
    time.sleep(1)
    going = time.monotonic_ns()
    assert run.resume()
    moves(run)
    time.sleep(0.2)
    assert run.pause()
    ran = time.monotonic_ns() - begin - (going - stood)
    assert counter(run) <= ran / PERIOD + 2  # one of before, one of the pause


@pytest.fixture
def offsets():
    """Skips the test where the host's KVM takes no offset of the TSC."""
    system = System()
    vm = system.create_vm()
    vcpu = vm.create_vcpu(0, system.vcpu_mmap_size())
    vcpu.set_tsc_offset(1 << 40)
    taken = vcpu.tsc_offset()
    for made in (vcpu, vm, system):
        made.close()
    if taken != 1 << 40:
        pytest.skip("this host's KVM ignores KVM_VCPU_TSC_OFFSET: tests/lab/test_paused.py runs this in the lab")


@pytest.mark.usefixtures("offsets")
def test_the_tsc_does_not_show_the_pause(start):
    """A guest that ran for at most this many ticks of the host's sees no more of its own."""
    counted, most = tsc.of_a_pause(start(tsc.CODE))
    assert 0 < counted <= most


def test_kvmclock_does_not_show_the_pause(count):
    run = count()
    vm = run._session.machine.vm
    begin, before = time.monotonic_ns(), vm.clock()
    assert run.pause()
    stood = time.monotonic_ns()
    time.sleep(0.3)
    going = time.monotonic_ns()
    assert run.resume()
    elapsed = vm.clock() - before
    # The two clocks' rates differ by what NTP steers one of them.
    assert elapsed <= (time.monotonic_ns() - begin - (going - stood)) * 1.01


def test_a_host_that_cannot_set_the_clocks_pauses_all_the_same(count, lacking):
    lacking("KVM_CAP_ADJUST_CLOCK")
    run = count()
    assert (run.pause(), run.resume()) == (True, True)


# The trace

PARTS = ("start_ns", "kvm_run_ns", "handling_ns", "paused_ns", "stopped_ns")


def test_a_pause_is_a_part_of_each_vcpus_time(count):
    run = count(2, trace={"inputs": True})
    moves(run, 2)
    paused = 0
    for _ in range(3):
        assert run.pause()
        begin = lib.tsc_now()
        time.sleep(0.1)
        paused += lib.tsc_now() - begin
        assert run.resume()
        moves(run, 2)
    run.stop()
    trace = tracer.load(run.result(60).trace)
    khz = trace.clock["tsc_khz"]
    for life in account(trace).vcpus.values():
        assert sum(getattr(life, part) for part in PARTS) == life.end == trace.summary["duration_ns"]
        assert paused * 1_000_000 // khz <= life.paused_ns < life.end
        assert life.kvm_run_ns > 0
    rows = summarise(trace).tables["vcpu"].to_pylist()
    assert [row["paused_ns"] for row in rows] == trace.summary["paused_ns"]
    kinds = [row["kind"] for row in trace.tables["inputs"].table.to_pylist()]
    assert kinds == [*["pause", "resume"] * 3, "end"]


KILLED = """
import sys, time
import runner
run = runner.start(sys.argv[1])
run.pause()
print("paused", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("both", [False, True])
def test_a_run_that_is_killed_in_a_pause_was_paused_until_then(write_spec, tmp_path, both):
    """Until its recorder, which may be killed as well, last knew."""
    ring = tmp_path / "guest.ring"
    with subprocess.Popen([sys.executable, "-c", KILLED, write_spec(SPIN)], stdout=subprocess.PIPE) as program:
        assert program.stdout.readline() == b"paused\n"
        eventually(lambda: paused_until(ring) > 1_000_000_000, "the recorder does not look at the rings")
        [recorder] = children(program.pid)
        program.send_signal(signal.SIGSTOP)
        if both:
            os.kill(recorder, signal.SIGKILL)
        program.send_signal(signal.SIGKILL)
    if both:
        recover(tmp_path / "guest.arrow")
    eventually((tmp_path / "guest.arrow").exists, "no trace")
    trace = tracer.load(tmp_path / "guest.arrow")
    [life] = account(trace).vcpus.values()
    assert sum(getattr(life, part) for part in PARTS) == life.end
    assert 1_000_000_000 < life.paused_ns < life.end


def paused_until(path):
    """How long the vCPU of a run under way was paused when its recorder looked last, in ns."""
    try:
        with RingFile(path) as rings:
            return rings.paused(rings.rings[0])[0] if rings.tsc_seen else 0
    except tracer.TraceError:
        return 0


# Wait for PM1_STS to have PWRBTN_STS, then power off by S5.
BUTTON = bytes.fromhex("ba 00 06  ed  f6 c4 01  74 fa  ba 04 06  b8 00 34  ef  f4")


def test_the_power_button_reaches_the_guest(start):
    run = start(BUTTON, devices=[{"kind": "acpi"}], trace={"inputs": True})
    assert run.power_button()
    result = run.result(60)
    assert (result.kind, result.status) == ("poweroff", 0)
    assert not run.power_button()
    rows = tracer.load(result.trace).tables["inputs"].table.to_pylist()
    assert [(row["kind"], row["device"], row["data"]) for row in rows] == [
        ("command", "acpi0", b"press the power button")
    ]


def test_a_machine_without_acpi_has_no_power_button(count):
    with pytest.raises(LifecycleError, match="no power button: its spec needs the device acpi"):
        count().power_button()
