"""Virtual time and input from the host: it goes in at an exit of the guest, and is recorded there."""

import os
import threading
import time
from itertools import pairwise

import pytest

import runner
import tracer
from runner.replay.offline import compared
from runner.replay.recording import Recording
from runner.replay.replaying import replay
from runner.session.given import Given
from tests.runner.virtualguests import CONTROLLERS, HANDLERS, POST, VIRTUAL
from vmspec.plan.virtual import STEP

pytestmark = pytest.mark.kvm

INPUTS = {"inputs": True}
SERIAL = {"kind": "serial", "input": "stdin"}
# Print each byte that comes, and end after a full stop. No timer runs: only input wakes the guest.
ECHO = """
    xor %ax, %ax
    movw $uart, 0x34*4
    movw %ax, 0x34*4+2
    mov $0xef, %al; out %al, $0x21
    mov $0x3f9, %dx
    mov $1, %al; out %al, %dx
    sti
1:  hlt
    cmpb $0x2e, last
    jne 1b
    cli
    hlt
uart:
    push %ax
    push %dx
2:  mov $0x3fd, %dx; in %dx, %al
    test $1, %al
    jz 3f
    mov $0x3f8, %dx; in %dx, %al; out %al, %dx
    mov %al, last
    jmp 2b
3:  mov $0x3fa, %dx; in %dx, %al
    mov $0x20, %al; out %al, $0x20
    pop %dx
    pop %ax
    iret
last: .byte 0
"""


@pytest.fixture
def typed(run_guest, assemble):
    """Runs the echo with input that comes in pieces, some time after each other."""

    def run(*pieces, before="", echo=ECHO, pause=0.02):
        source, sink = os.pipe()

        def write():
            for piece in pieces:
                time.sleep(pause)
                os.write(sink, piece)
            os.close(sink)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            code = assemble(CONTROLLERS + before + echo + HANDLERS)
            return run_guest(code, devices=[SERIAL], vm=VIRTUAL, trace=INPUTS, input=source)
        finally:
            writer.join()
            os.close(source)

    return run


def test_input_wakes_the_guest_and_is_recorded_at_its_exit(typed):
    result = typed(b"a", b"bc", b".")
    assert (result.kind, result.console) == ("halt", b"abc.")
    trace = tracer.load(result.trace)
    rows = trace.table.to_pylist()
    inputs = trace.tables["inputs"].table.to_pylist()
    assert b"".join(row["data"] for row in inputs) == b"abc."
    assert {row["kind"] for row in inputs} == {"bytes"}
    # A busy host may bring a byte while the guest handles another one; that byte's interrupt waits.
    places = [rows[row["seq"]] for row in inputs]
    assert all(row["vector"] == 0x34 for row in places if row["reason"] == "hlt")
    assert list(compared(Recording.of(result.trace))) == []


# The receiver's interrupt is off: the guest is halted, and input does not wake it.
ASLEEP = ECHO.replace("mov $1, %al; out %al, %dx", "mov $0, %al; out %al, %dx")


def test_each_input_of_a_guest_that_waits_has_a_time_of_its_own(typed):
    """It says what had happened before."""
    result = typed(b"a", b"bc", b".", echo=ASLEEP, pause=0.3)
    trace = tracer.load(result.trace)
    inputs = trace.tables["inputs"].table.to_pylist()
    assert b"".join(row["data"] for row in inputs) == b"abc."
    halted = [row["clock"] for row in inputs if row["seq"] == trace.table.num_rows - 1]
    assert len(halted) > 1
    assert {b - a for a, b in pairwise(halted)} == {STEP}


def test_a_guest_that_is_halted_with_interrupts_off_waits_for_no_input(run_guest, assemble):
    source, sink = os.pipe()
    result = run_guest(assemble("cli; hlt"), devices=[SERIAL], vm=VIRTUAL, trace=INPUTS, input=source)
    assert result.kind == "halt"
    os.close(source)
    os.close(sink)


# The timer runs, and its interrupt is masked: time passes while the guest is halted, until input wakes it.
PASSES = "mov $0x34, %al; out %al, $0x43; xor %al, %al; out %al, $0x40; out %al, $0x40\n"


def test_input_of_a_halted_guest_whose_time_passes_is_fed_to_the_models(typed):
    """The UART interrupts a while after it has got the input, so the models must have it at that time, too."""
    result = typed(b"a", b"bc", b".", before=PASSES)
    assert (result.kind, result.console) == ("halt", b"abc.")
    recording = Recording.of(result.trace)
    assert recording.inputs
    assert list(compared(recording)) == []


def test_a_guest_that_waits_for_input_ends_where_there_is_none_any_more(typed):
    result = typed(b"a")
    assert (result.kind, result.console) == ("halt", b"a")


def test_a_guest_without_input_does_not_wait_for_it(run_guest, assemble):
    result = run_guest(assemble(CONTROLLERS + ECHO + HANDLERS), devices=[SERIAL], vm=VIRTUAL, trace=INPUTS)
    assert (result.kind, result.console) == ("halt", b"")


# Count exits until an NMI comes.
AWAITS_NMI = """
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %ss
    mov $0x7000, %sp
    movw $nmi, 2*4
    movw %ax, 2*4+2
1:  out %al, $0x80
    jmp 1b
nmi: mov $0x4e, %al; out %al, $0x80
    cli
    hlt
"""


def test_an_nmi_goes_in_at_an_exit_and_is_recorded_there(write_spec, assemble):
    path = write_spec(assemble(AWAITS_NMI), devices=[POST], vm=VIRTUAL, trace=INPUTS)
    with runner.start(path, control="virtual-nmi") as run:
        with runner.connect("virtual-nmi") as control:
            control.nmi()
        result = run.result(30)
    assert result.kind == "halt"
    trace = tracer.load(result.trace)
    (came,) = trace.tables["inputs"].table.to_pylist()
    assert (came["kind"], came["data"]) == ("command", b"NMI for vCPU 0")
    rows = trace.table.slice(came["seq"] + 1).to_pylist()
    assert [(row["reason"], row["data"]) for row in rows] == [("io", 0x4E), ("hlt", 0)]


# Until the status of the power button is set.
AWAITS_POWER = """
    mov $0x601, %dx
1:  in %dx, %al
    test $1, %al
    jz 1b
    hlt
"""


def test_the_power_button_goes_in_at_an_exit_and_a_replay_presses_it(write_spec, assemble):
    path = write_spec(assemble(AWAITS_POWER), devices=[{"kind": "acpi"}], vm=VIRTUAL, trace=INPUTS)
    with runner.start(path, control="virtual-power") as run:
        with runner.connect("virtual-power") as control:
            control.power_button()
        result = run.result(30)
    assert result.kind == "halt"
    trace = tracer.load(result.trace)
    (came,) = trace.tables["inputs"].table.to_pylist()
    assert (came["kind"], came["device"]) == ("command", "acpi0")
    rows = trace.table.slice(came["seq"] + 1).to_pylist()
    assert [(row["reason"], row["data"]) for row in rows] == [("io", 1), ("hlt", 0)]
    recording = Recording.of(result.trace)
    assert list(compared(recording)) == []
    assert replay(recording, Given.replayed(result.trace, (), (), print).plan, None, lambda: False).mismatch is None


# Until the receiver has a break; then its character and the next one.
AWAITS_BREAK = """
    mov $0x3fd, %dx
1:  in %dx, %al
    test $0x10, %al
    jz 1b
    mov $0x3f8, %dx
    in %dx, %al
    mov $0x3fd, %dx
2:  in %dx, %al
    test $1, %al
    jz 2b
    mov $0x3f8, %dx
    in %dx, %al
    hlt
"""


def test_a_magic_sysrq_goes_in_at_an_exit_and_a_replay_presses_it(write_spec, assemble):
    path = write_spec(assemble(AWAITS_BREAK), devices=[SERIAL], vm=VIRTUAL, trace=INPUTS)
    with runner.start(path, control="virtual-sysrq") as run:
        with runner.connect("virtual-sysrq") as control:
            control.sysrq("t")
        result = run.result(30)
    assert result.kind == "halt"
    (came,) = tracer.load(result.trace).tables["inputs"].table.to_pylist()
    assert (came["kind"], came["device"], came["data"]) == ("command", "serial0", b"SysRq t")
    read = [row["data"] for row in tracer.load(result.trace).table.to_pylist() if row["addr"] == 0x3F8]
    assert read == [0, ord("t")]
    assert list(compared(Recording.of(result.trace))) == []


@pytest.mark.parametrize("command", ["nmi", "power_button"])
def test_a_command_that_would_not_be_recorded_is_refused(write_spec, assemble, command):
    path = write_spec(assemble(AWAITS_NMI), devices=[POST, {"kind": "acpi"}], vm=VIRTUAL)
    with runner.start(path, control="virtual-nmi") as run, runner.connect("virtual-nmi") as control:
        with pytest.raises(runner.ControlError, match=r"trace\.inputs = true"):
            getattr(control, command)()
        run.stop()
