"""Recordings that are replayed on KVM: to the end, and up to the first exit that is not as recorded."""

import json
import os
from dataclasses import dataclass
from random import Random

import pytest

import runner
from runner.cli import main
from runner.replay.recording import Recording
from runner.replay.replaying import replay
from runner.session.given import Given
from tests.runner.test_kernels import LOAD, kernel
from tests.runner.test_virtual import READS_TSC
from tests.runner.test_virtual_input import AWAITS_NMI, ECHO, INPUTS, SERIAL
from tests.runner.virtualguests import CONTRACT, CONTROLLERS, HANDLERS, POST, RTC, TRIPLE_FAULT, VIRTUAL
from vmspec import layout
from vmspec.trace.record import FLAGS

pytestmark = pytest.mark.kvm


@dataclass
class Recorded:
    recording: Recording
    plan: object

    def replay(self, until=None, **changed):
        return replay(self.recording._replace(**changed), self.plan, until, lambda: False)

    def changed(self, number, **values):
        """The exits, one of them changed."""
        exits = list(self.recording.exits)
        exits[number] = exits[number]._replace(**values)
        return exits


def recorded(path):
    return Recorded(Recording.of(path), Given.replayed(path, (), (), print).plan)


@pytest.fixture
def record(run_guest):
    def record(code, **spec):
        spec = {"vm": VIRTUAL, "trace": INPUTS, **spec}
        return recorded(run_guest(code, **spec).trace)

    return record


@pytest.fixture
def contract(record, assemble):
    return record(assemble(f"TURNS = 200\n{CONTRACT}"), devices=[RTC, POST, {"kind": "debug-port"}])


def test_the_guest_reads_the_recorded_tsc(record, assemble):
    """It shows what it has read; without the recorded value, the first of these differs."""
    made = record(assemble(READS_TSC), devices=[POST, {"kind": "tsc"}])
    assert made.replay().mismatch is None
    number = next(n for n, exit in enumerate(made.recording.exits) if exit.device == "tsc0")
    found = made.replay(exits=made.changed(number, data=made.recording.exits[number].data ^ 1 << 40))
    assert found.mismatch.exit == number + 2
    assert [*found.mismatch.differs] == ["bytes"]


def test_a_recording_replays_to_its_end(contract):
    found = contract.replay()
    assert found.mismatch is None
    assert found.exits == found.recorded == len(contract.recording.exits) > 1000
    assert sum(exit.vector != 0 for exit in contract.recording.exits) > 20


def test_the_last_exit_may_be_a_triple_fault(record, assemble):
    made = record(assemble(TRIPLE_FAULT, 64), boot={"mode": "long"}, devices=[POST], vm=VIRTUAL | {"memory": "4MiB"})
    assert made.recording.exits[-1].reason == "shutdown"
    found = made.replay()
    assert (found.mismatch, found.exits, found.ended) == (None, found.recorded, "")


def test_a_replay_ends_where_it_is_told_to(contract):
    found = contract.replay(until=100)
    assert (found.exits, found.mismatch, found.ended) == (100, None, "")
    assert found.registers["rip"]


def test_input_comes_from_the_recording(record, assemble):
    source, sink = os.pipe()
    os.write(sink, b"abc.")
    os.close(sink)
    made = record(assemble(CONTROLLERS + ECHO + HANDLERS), devices=[SERIAL], input=source)
    os.close(source)
    assert made.recording.inputs
    assert made.replay().mismatch is None


def test_an_nmi_comes_from_the_recording(write_spec, assemble):
    path = write_spec(assemble(AWAITS_NMI), devices=[POST], vm=VIRTUAL, trace=INPUTS)
    with runner.start(path, control="replayed-nmi") as run:
        with runner.connect("replayed-nmi") as control:
            control.nmi()
        made = recorded(run.result(30).trace)
    assert made.replay().mismatch is None
    found = made.replay(inputs={})
    assert found.mismatch.exit == max(made.recording.inputs) + 1


def test_what_the_guest_does_must_be_as_recorded(contract):
    """Each column of what the guest does, changed at some exit: the replay ends there."""
    exits, random = contract.recording.exits, Random(1)
    writes = [exit.seq for exit in exits if exit.direction == "write"]
    for name, value in [("rip", 1), ("addr", 1), ("size", 2), ("bytes", b"\xa5"), ("reason", "mmio")]:
        number = random.choice(writes[10:])
        found = contract.replay(exits=contract.changed(number, **{name: value}))
        assert (found.mismatch.exit, [*found.mismatch.differs]) == (number, [name])
        assert found.exits == number


def test_an_interrupt_that_is_not_as_recorded_is_found_at_the_next_exit(contract):
    taken = [exit.seq for exit in contract.recording.exits if exit.vector]
    number = taken[5]
    found = contract.replay(
        exits=contract.changed(number, vector=0x38 ^ 0x30 ^ contract.recording.exits[number].vector)
    )
    assert found.mismatch.exit == number + 1
    assert found.mismatch.interrupt[0] == number


def test_a_window_that_is_not_asked_for_is_found(record, assemble):
    """A guest in whose run an interrupt waits; see tests/runner/test_virtual.py."""
    code = "cli; mov $0x3f9, %dx; mov $2, %al; out %al, %dx; out %al, $0x80; sti; nop; mov $0xffff, %cx; 1: loop 1b;"
    code += "out %al, $0x81; cli; hlt; uart: mov $0x31, %al; out %al, $0x80; cli; hlt"
    setup = CONTROLLERS + "movw $uart, 0x34*4; movw $0, 0x34*4+2; mov $0xef, %al; out %al, $0x21\n"
    made = record(assemble(setup + code + HANDLERS), devices=[{"kind": "serial", "input": "none"}, POST])
    waiting = [exit for exit in made.recording.exits if exit.has("WINDOW")]
    assert made.replay().mismatch is None
    last = waiting[-1]
    found = made.replay(exits=made.changed(last.seq, flags=last.flags & ~FLAGS["WINDOW"]))
    assert (found.mismatch.exit, found.mismatch.differs["reason"]) == (last.seq + 1, ("irq_window_open", "io"))


def test_an_answer_that_is_not_as_recorded_is_found_where_the_guest_shows_it(contract):
    exits = contract.recording.exits
    number = next(n for n, exit in enumerate(exits) if exit.addr == 0x40 and exit.direction == "read" and n > 200)
    shown = next(n for n in range(number, len(exits)) if exits[n].addr == 0x80)
    changed = bytes([exits[number].bytes[0] ^ 0x10])
    found = contract.replay(exits=contract.changed(number, bytes=changed))
    assert (found.mismatch.exit, [*found.mismatch.differs]) == (shown, ["bytes"])


def test_the_command(run_guest, assemble, capsys, tmp_path, monkeypatch):
    trace = run_guest(
        assemble("mov $5, %al; out %al, $0x80; in $0x80, %al; out %al, $0x80; cli; hlt"), devices=[POST], vm=VIRTUAL
    ).trace
    assert main(["--replay", str(trace)]) == 0
    assert capsys.readouterr().out == "all 4 exits are as recorded\n"
    assert main(["--replay", str(trace), "--until", "2"]) == 0
    assert "the first 2 of 4 exits are as recorded" in capsys.readouterr().out
    assert main(["--replay", str(trace), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["exits"] == 4


def test_the_command_shows_both_sides(run_guest, assemble, capsys, monkeypatch):
    trace = run_guest(assemble("mov $5, %al; out %al, $0x80; cli; hlt"), devices=[POST], vm=VIRTUAL).trace
    of = Recording.of

    def otherwise(path):
        found = of(path)
        return found._replace(exits=[found.exits[0]._replace(bytes=b"\6"), *found.exits[1:]])

    monkeypatch.setattr(Recording, "of", otherwise)
    assert main(["--replay", str(trace)]) == 1
    told = capsys.readouterr().out
    assert told.startswith(
        "exit 0 of 2 is not as recorded:\n  bytes: recorded 06, replayed 05\nthe guest had taken no "
    )
    assert "rax 0000000000000005" in told


@pytest.mark.parametrize(
    ("words", "said", "status"),
    [
        (["--replay", "{spec}"], "is not an Arrow file", 6),
        (["--replay", "{host}"], 'record one with vm.time = "virtual"', 6),
        (["--replay", "--verify", "2", "{host}"], "--verify is for a run", 2),
        (["--until", "2", "{spec}"], "--until is for --replay", 2),
    ],
)
def test_the_command_refuses(run_guest, write_spec, capsys, words, said, status):
    places = {"host": run_guest("f4").trace, "spec": write_spec("f4")}
    assert main([word.format(**places) for word in words]) == status
    assert said in capsys.readouterr().err


# Prints the ACPI tables.
TABLES = f"""
    mov ${layout.ACPI}, %esi
    mov ${layout.ACPI_SIZE}, %ecx
    mov $0xe9, %edx
    cld
    rep outsb
    hlt
"""


def test_a_kernel_finds_the_tables_of_the_devices_that_it_had(assemble, tmp_path):
    code = assemble(TABLES, bits=32, origin=LOAD)
    (tmp_path / "kernel").write_bytes(kernel("elf32-pvh", code))
    (tmp_path / "guest.toml").write_text("""
[vm]
name = "tables"
memory = "4MiB"
time = "virtual"
[boot]
kernel = "kernel"
[trace]
path = "tables.arrow"
inputs = true
[[device]]
kind = "acpi"
[[device]]
kind = "rtc"
time = 2026-01-01T12:00:00Z
[[device]]
kind = "debug-port"
""")
    result = runner.run(tmp_path / "guest.toml")
    assert (result.kind, b"DSDT" in result.console) == ("halt", True)
    assert recorded(result.trace).replay().mismatch is None
