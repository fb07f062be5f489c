"""Virtual time: flat guests on the host's KVM, whose exits are the same in every run, however the host disturbs them.

A guest here enables interrupts only where an exit or a HLT follows: a KVM that interprets the guest's kernel code opens
the interrupt window late (docs/determinism.md).
"""

import contextlib
import json
import random
import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise

import pytest

import tracer
import vmspec
from runner.machine import virtual
from runner.machine.bus import Buses
from runner.machine.virtual import VirtualTime
from runner.native._native import ffi
from runner.session.session import run
from runner.signals import KICK
from tests.runner.virtualguests import CONTRACT, CONTRACT_DEVICES, CONTROLLERS, HANDLERS, POST, RTC, SLEEPER, VIRTUAL
from vmspec import planner
from vmspec.plan.calls import EnableMsrExits, SetMsrFilter
from vmspec.trace.record import COMPARED, FLAGS

pytestmark = pytest.mark.kvm


@contextlib.contextmanager
def disturbance():
    """Signals to the vCPU's thread at 1 kHz, as far as the host gets to it, and a process that keeps a processor
    busy."""
    over = threading.Event()

    def signals():
        while not over.wait(random.random() / 500):
            for thread in threading.enumerate():
                if thread.name == "vcpu0" and thread.ident is not None:
                    with contextlib.suppress(ProcessLookupError):
                        signal.pthread_kill(thread.ident, KICK)

    sender = threading.Thread(target=signals)
    load = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    sender.start()
    try:
        yield
    finally:
        over.set()
        sender.join()
        load.kill()
        load.wait()


def exits(trace, *also):
    """What a trace has of the exits that does not depend on the host's time."""
    return trace.table.select([*COMPARED, "flags", *also])


def flag_names(bits):
    return {name for name, bit in FLAGS.items() if bits & bit}


def contract(run_guest, assemble, turns):
    files = {"sleeper.py": SLEEPER}
    result = run_guest(
        assemble(f"TURNS = {turns}\n{CONTRACT}"),
        devices=CONTRACT_DEVICES,
        files=files,
        vm=VIRTUAL | {"timeout": "15min"},  # an emulated host takes minutes
        trace={"ring": 1 << 17},
    )
    assert (result.kind, result.detail) == ("halt", "")
    return tracer.load(result.trace)


@pytest.mark.parametrize(
    ("turns", "runs"), [(400, 4), pytest.param(17_300, 20, marks=pytest.mark.soak)], ids=["short", "100,000 exits"]
)
def test_runs_have_the_same_exits_however_the_host_disturbs_them(run_guest, assemble, turns, runs):
    first = exits(contract(run_guest, assemble, turns))
    assert len(first) > 5 * turns
    interrupted = 0
    with disturbance():
        for number in range(runs - 1):
            trace = contract(run_guest, assemble, turns)
            interrupted += sum(trace.summary["interrupted"])
            assert exits(trace).equals(first), number
    assert interrupted > 0


# Sources of difference, with the remedy off and on


# Latch and show the timer's count 50 times.
COUNTS = """
    mov $0x34, %al; out %al, $0x43
    xor %al, %al; out %al, $0x40; out %al, $0x40
    mov $50, %cx
1:  xor %al, %al; out %al, $0x43
    in $0x40, %al; out %al, $0x80
    in $0x40, %al; out %al, $0x80
    loop 1b
    cli
    hlt
"""


def shown(result):
    """What a guest has shown at port 0x80."""
    rows = tracer.load(result.trace).table.select(["addr", "data"]).to_pylist()
    return [row["data"] for row in rows if row["addr"] == 0x80]


@pytest.mark.parametrize(
    ("vm", "equal"), [({"irqchip": "kernel", "timeout": "300ms"}, False), (VIRTUAL, True)], ids=["host", "virtual"]
)
def test_the_timer_counts_the_same_in_every_run(run_guest, assemble, vm, equal):
    runs = [shown(run_guest(assemble(COUNTS), devices=[POST], vm=vm)) for _ in range(3)]
    assert len(runs[0]) == 100
    assert all(counts == runs[0] for counts in runs) is equal


# Read the device that stands for the TSC 50 times, and show EDX and EAX.
READS_TSC = """
    mov $50, %cx
1:  mov $-1, %eax; mov $-1, %edx
    in $0xe7, %al
    out %eax, $0x80
    mov %edx, %eax; out %eax, $0x80
    loop 1b
    in $0xe7, %ax; out %ax, $0x80
    cli
    hlt
"""


@pytest.mark.parametrize("step", ["1us", "1ns", "3s"])
def test_the_device_in_the_place_of_the_tsc_has_virtual_time(run_guest, assemble, step):
    """Each read takes half to one and a half of its step, not that of other exits: 300 of them here."""
    devices = [POST, {"kind": "tsc", "step": step}]
    runs = [run_guest(assemble(READS_TSC), devices=devices, vm={**VIRTUAL, "step": "1ns"}) for _ in range(2)]
    words = shown(runs[0])
    assert words == shown(runs[1])
    read = [high << 32 | low for low, high in zip(words[0:100:2], words[1:100:2], strict=True)]
    assert words[100:] == [0xFF00]  # an access that no RDTSC was replaced by: no device is at the next port
    rows = tracer.load(runs[0].trace).table.select(["device", "data", "size"]).to_pylist()
    assert [row["data"] for row in rows if (row["device"], row["size"]) == ("tsc0", 1)] == read
    took = [later - earlier - 2 for earlier, later in pairwise(read)]  # the two others took 1 ns each
    mean = {"1us": 1000, "1ns": 1, "3s": 3 * 10**9}[step]
    assert all(mean / 2 <= each <= mean * 1.5 for each in took)
    assert (len(set(took)) > 1) is (mean > 1)


# Show the low half of the MSR of the TSC.
TSC = "mov $0x10, %ecx; rdmsr; out %eax, $0x80; cli; hlt"


@pytest.mark.parametrize("filtered", [False, True])
def test_the_msr_of_the_tsc_shows_the_clock(write_spec, assemble, filtered):
    plan = planner.plan(vmspec.load(write_spec(assemble(TSC), devices=[POST], vm=VIRTUAL)))
    if not filtered:
        calls = tuple(call for call in plan.calls if not isinstance(call, EnableMsrExits | SetMsrFilter))
        plan = plan._replace(calls=calls)
    values = [shown(run(plan))[0] for _ in range(2)]
    assert (values[0] == values[1]) is filtered
    assert not filtered or values[0] == 20_000


def test_an_msr_of_the_model_is_an_exit_that_vmrun_answers(run_guest, assemble):
    code = "mov $0x8b, %ecx; rdmsr; out %eax, $0x80; mov $7, %eax; wrmsr; cli; hlt"
    rows = tracer.load(run_guest(assemble(code), devices=[POST], vm=VIRTUAL).trace).table.to_pylist()
    found = [(row["reason"], row["addr"], row["direction"], row["data"]) for row in rows]
    assert found == [
        ("rdmsr", 0x8B, "read", 0),
        ("io", 0x80, "write", 0),
        ("wrmsr", 0x8B, "write", 7),
        ("hlt", 0, "none", 0),
    ]


def test_rdtsc_is_not_hidden_and_the_trace_says_so(run_guest, assemble):
    code, values = assemble("rdtsc; out %eax, $0x80; cli; hlt"), []
    for _ in range(2):
        result = run_guest(code, devices=[POST], vm=VIRTUAL)
        values.append(shown(result))
    said = json.loads(tracer.load(result.trace).metadata["vmrun.time"])
    assert (said["kind"], said["step_ns"], said["promise"]) == ("virtual", 20_000, "repeatable")
    assert any("RDTSC" in sentence for sentence in said["not_enforced"])
    assert values[0] != values[1]


# Interrupts by the UART: it sends a character at each interrupt that the last one was sent.
SENDS = """
    xor %ax, %ax
    movw $uart, 0x34*4
    movw %ax, 0x34*4+2
    mov $0xef, %al; out %al, $0x21
    sti
    mov $0x3f9, %dx
    mov $2, %al; out %al, %dx
1:  hlt
    cmpw $100, count
    jbe 1b
    cli
    hlt
uart:
    sti
    push %ax
    push %dx
    mov $0x3fa, %dx; in %dx, %al; out %al, $0x80
    incw count
    mov $0x20, %al; out %al, $0x20
    cmpw $100, count
    ja 1f
    mov $0x3f8, %dx
    mov $0x2e, %al; out %al, %dx
1:  pop %dx
    pop %ax
    iret
"""


def test_a_transmitter_interrupts_at_the_exit_that_empties_it(run_guest, assemble):
    """With the host's time, the device thread gives the UART its bytes, and interrupts, at a moment of its own."""
    code, devices = assemble(CONTROLLERS + SENDS + HANDLERS), [{"kind": "serial", "input": "none"}, POST]
    runs = []
    with disturbance():
        for _ in range(3):
            result = run_guest(code, devices=devices, vm=VIRTUAL)
            assert (result.kind, result.console) == ("halt", b"." * 100)
            runs.append(exits(tracer.load(result.trace)))
    assert all(found.equals(runs[0]) for found in runs)


# Time


def test_a_step_is_the_time_of_an_exit(run_guest, assemble):
    """Three exits between two latches of a counter of 1,193,182 Hz."""
    counts = shown(run_guest(assemble(COUNTS), devices=[POST], vm=VIRTUAL | {"step": "1ms"}))
    words = [low | high << 8 for low, high in zip(counts[::2], counts[1::2], strict=True)]
    assert {(before - after) % 0x10000 for before, after in pairwise(words)} <= {5965, 5966}


# 1,200 HLTs of 55 ms each, and then the clock's minutes.
WAITS = """
    mov $0xfe, %al; out %al, $0x21
    mov $0x34, %al; out %al, $0x43
    xor %al, %al; out %al, $0x40; out %al, $0x40
    sti
1:  hlt
    cmpw $1200, count
    jb 1b
    cli
    mov $0x02, %al; out %al, $0x70; in $0x71, %al; out %al, $0x80
    hlt
"""


def test_a_halted_guest_waits_no_time_of_the_hosts(run_guest, assemble):
    result = run_guest(assemble(CONTROLLERS + WAITS + HANDLERS), devices=[RTC, POST], vm=VIRTUAL)
    assert (result.kind, shown(result), result.counters["hlt"]) == ("halt", [0x01], 1201)


def test_the_trace_has_the_interrupts_and_the_times_of_waking(run_guest, assemble):
    code = WAITS.replace("$1200", "$3").replace("cli\n    mov $0x02", "cli\n    mov $100, %cx; 2: loop 2b; mov $0x02")
    result = run_guest(assemble(CONTROLLERS + code + HANDLERS), devices=[RTC, POST], vm=VIRTUAL)
    rows = [row for row in tracer.load(result.trace).table.to_pylist() if row["reason"] == "hlt"]
    assert [row["vector"] for row in rows] == [0x30, 0x30, 0x30, 0]
    woken = [row["data"] for row in rows[:3]]
    assert {(later - sooner) // 1_000_000 for sooner, later in pairwise(woken)} == {54}
    assert rows[3]["data"] == 0


def test_the_trace_has_where_an_interrupt_waits(run_guest, assemble):
    """A UART interrupts with interrupts disabled; three exits later the guest enables them."""
    code = "cli; mov $0x3f9, %dx; mov $2, %al; out %al, %dx; out %al, $0x80; out %al, $0x80; sti; nop; 1: jmp 1b; uart:"
    code += "mov $0x31, %al; out %al, $0x80; cli; hlt"
    setup = CONTROLLERS + "movw $uart, 0x34*4; movw $0, 0x34*4+2; mov $0xef, %al; out %al, $0x21\n"
    result = run_guest(
        assemble(setup + code + HANDLERS), devices=[{"kind": "serial", "input": "none"}, POST], vm=VIRTUAL
    )
    rows = tracer.load(result.trace).table.to_pylist()
    waits = ["WINDOW" in flag_names(row["flags"]) for row in rows]
    first = waits.index(True)
    assert (rows[first]["addr"], rows[first]["data"]) == (0x3F9, 2)
    assert waits[first:] == [True, True, True, False, False, False]
    assert [row["reason"] for row in rows[first:]] == ["io", "io", "io", "irq_window_open", "io", "hlt"]
    assert [row["vector"] for row in rows[first:]] == [0, 0, 0, 0x34, 0, 0]


@pytest.mark.parametrize("code", ["cli; hlt", "sti; hlt"])
def test_a_halt_that_nothing_ends_is_the_end(run_guest, assemble, code):
    result = run_guest(assemble(code), vm=VIRTUAL)
    assert (result.kind, result.counters["hlt"]) == ("halt", 1)


def test_a_halt_that_waits_for_what_is_masked_is_the_end(run_guest, assemble, monkeypatch):
    monkeypatch.setattr(virtual, "PATIENCE", 100)
    code = "mov $0x34, %al; out %al, $0x43; xor %al, %al; out %al, $0x40; out %al, $0x40; sti; hlt"
    result = run_guest(assemble(code), vm=VIRTUAL)
    assert (result.kind, result.counters["hlt"]) == ("halt", 1)


def test_a_halt_for_which_a_long_time_passes_goes_on(run_guest, assemble, monkeypatch):
    """What wakes it starts the count of the ticks that do not again."""
    monkeypatch.setattr(virtual, "PATIENCE", 3)
    code = f"{CONTROLLERS}\nmov $0x34, %al; out %al, $0x43; xor %al, %al; out %al, $0x40; out %al, $0x40\n"
    code += f"mov $9, %cx\n1: sti; hlt; loop 1b; cli; hlt\n{HANDLERS}"
    result = run_guest(assemble(code), vm=VIRTUAL)
    assert (result.kind, result.counters["hlt"]) == ("halt", 10)


OWN_THREAD = """
import threading

from runner.devices import Device


class Thread(Device):
    def write(self, region, offset, size, value):
        try:
            thread = threading.Thread(target=self.late)
            thread.start()
            thread.join()
        finally:
            if self.error:
                raise self.error

    def late(self):
        try:
            self.irq.pulse()
        except Exception as error:
            self.error = error
"""


def test_a_device_that_interrupts_in_a_thread_of_its_own_is_an_error(run_guest, assemble):
    result = run_guest(
        assemble("mov $0x500, %dx; out %al, %dx; hlt"),
        devices=[{"kind": "python", "class": "thread:Thread", "port": [0x500, 1], "irq": 5}],
        files={"thread.py": OWN_THREAD},
        vm=VIRTUAL,
    )
    assert result.kind == "device-error"
    assert "python0 interrupts in a thread of the host's" in result.detail


# It counts its ticks, each of which asks for the next one at once.
AGAIN = """
from runner.devices import Device


class Again(Device):
    def __init__(self):
        self.ticks = 0

    def attach(self, services):
        super().attach(services)
        self.after(0)

    def tick(self):
        self.ticks += 1
        self.after(0)

    def read(self, region, offset, size):
        return self.ticks
"""


def test_an_exit_ticks_a_device_once_whatever_else_python_is_asked_for(run_guest, assemble, monkeypatch):
    def counts():
        result = run_guest(
            assemble("mov $0x500, %dx; mov $40, %cx; 1: in %dx, %al; loop 1b; hlt"),
            devices=[{"kind": "python", "class": "again:Again", "port": [0x500, 1]}],
            files={"again.py": AGAIN},
            vm=VIRTUAL,
        )
        return tracer.load(result.trace).table["data"].to_pylist()

    expected = counts()
    ticked = Buses.tick

    def tick(self):
        ticked(self)
        if random.random() < 0.5:
            self.ask()  # as errands do that bring no input

    monkeypatch.setattr(Buses, "tick", tick)
    assert counts() == expected
    assert expected[:40] == list(range(40))


def test_pauses_do_not_count(write_spec, assemble):
    import runner

    path = write_spec(
        assemble(f"TURNS = 1000\n{CONTRACT}"), devices=CONTRACT_DEVICES, files={"sleeper.py": SLEEPER}, vm=VIRTUAL
    )
    traces = []
    for pauses in (0, 5):
        with runner.start(path) as guest:
            for _ in range(pauses):
                if guest.pause():
                    time.sleep(0.01)
                    guest.resume()
            traces.append(tracer.load(guest.result().trace).table.select(COMPARED))
    assert traces[0].equals(traces[1])


# 20 times: let a timer's interrupt wait, enable interrupts, and go round until it has come.
AFTER_STI = """
    mov $0xfe, %al; out %al, $0x21
    mov $0x34, %al; out %al, $0x43
    mov $(1193 & 255), %al; out %al, $0x40
    mov $(1193 >> 8), %al; out %al, $0x40
    mov $20, %cx
1:  mov $100, %dx
2:  out %al, $0x80
    dec %dx
    jnz 2b
    mov count, %bx
    sti
after_sti:
    nop
    nop
    cmp %bx, count
    je after_sti
    cli
    loop 1b
    mov $after_sti, %ax
    out %ax, $0x80
    hlt
"""


@pytest.mark.parametrize("remedy", [False, True])
def test_no_window_opens_after_the_byte_of_sti(run_guest, assemble, monkeypatch, remedy):
    """A host that forgets what STI does opens it there now and then. This guest returns to that place, where a KVM that
    interprets its code may open a window at any time."""
    connect = VirtualTime.connect

    def connected(self, buses):
        connect(self, buses)
        if not remedy:
            self.words.memory = ffi.NULL

    monkeypatch.setattr(VirtualTime, "connect", connected)
    result = run_guest(assemble(CONTROLLERS + AFTER_STI + HANDLERS), devices=[POST], vm=VIRTUAL)
    rows = tracer.load(result.trace).table.to_pylist()
    windows = [row["rip"] for row in rows if row["reason"] == "irq_window_open"]
    assert (result.kind, len(windows)) == ("halt", 20)
    if remedy:
        assert rows[-2]["data"] not in windows
    elif rows[-2]["data"] not in windows:
        pytest.skip("this host's KVM opens no window there")


# The watchdog

SPINS = "mov $0x41, %al; out %al, $0x80; out %al, $0x80; jmp ."


@pytest.mark.parametrize(("expect", "status"), [({}, 5), ({"exit": ["spun"]}, 0)], ids=["unexpected", "expected"])
def test_a_guest_that_waits_without_exits_is_ended(run_guest, assemble, expect, status):
    result = run_guest(assemble(SPINS), devices=[POST], vm={**VIRTUAL, "spin": "300ms"}, expect=expect)
    assert (result.kind, result.status) == ("spun", status)
    assert result.detail.startswith("the guest made no exit for 0.3 s after its 2 exits")
    assert [note for note in result.notes if "was running, at RIP 0x1006" in note] == (
        [] if expect else [result.notes[1]]
    )
    assert any("give vm.spin" in note for note in result.notes) is not bool(expect)
    assert len(tracer.load(result.trace).table) == 2


def test_a_guest_that_makes_exits_seldom_is_not(run_guest, assemble):
    """A device that takes its time, and a guest that counts between two exits."""
    devices = [POST, {"kind": "python", "class": "slow:Slow", "port": [0x510, 1]}]
    slow = "import time\nfrom runner.devices import Device\n\n\nclass Slow(Device):\n"
    slow += "    def read(self, region, offset, size):\n        time.sleep(1)\n        return 0\n"
    code = "mov $0x510, %dx; mov $3, %bx; 1: in %dx, %al; mov $0x100, %cx; 2: loop 2b; dec %bx; jnz 1b; cli; hlt"
    result = run_guest(assemble(code), devices=devices, files={"slow.py": slow}, vm={**VIRTUAL, "spin": "300ms"})
    assert (result.kind, result.detail) == ("halt", "")
