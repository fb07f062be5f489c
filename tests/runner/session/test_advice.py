"""What is said of a guest whose time was over."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.kvm.errors import KvmError
from runner.kvm.vcpu import REGISTERS, SEGMENTS, Registers
from runner.session.advice import LINE, after_timeout, last_line
from runner.x86.state import Segment, State
from vmspec.registers import system as R


class VCPU:
    """A vCPU that has stopped in real mode."""

    def __init__(self, state):
        self.state = state

    def mp_state(self):
        if self.state is None:
            raise KvmError(22, "KVM_GET_MP_STATE")
        return self.state

    def registers(self):
        general = dict.fromkeys(REGISTERS, 0x1000)
        state = State(general, dict.fromkeys(SEGMENTS, Segment(0, 0, 0xFFFF, 3)), cr0=R.CR0_ET)
        return Registers(general, state, 0)


def machine(*states, irqchip=True):
    return SimpleNamespace(vcpus=[VCPU(state) for state in states], plan=SimpleNamespace(irqchip=irqchip, devices=()))


NO_EXITS = SimpleNamespace(last=lambda index, count: [])


def test_each_vcpu_is_described():
    said = list(after_timeout(machine(0, 3, 1, None), NO_EXITS, b"", lambda address: "main+0x0"))
    assert said == [
        "the guest printed nothing",
        "vCPU 0 was running, at RIP 0x1000 (main+0x0), real mode, 16-bit",
        "vCPU 1 was halted, and no interrupt came, at RIP 0x1000 (main+0x0), real mode, 16-bit",
        "vCPU 2 was never started by the guest",
        "vCPU 3 cannot be read: KVM_GET_MP_STATE failed: Invalid argument",
    ]


def test_without_an_interrupt_controller_the_state_is_not_asked_for():
    assert "was running" in list(after_timeout(machine(None, irqchip=False), NO_EXITS, b"x", lambda address: None))[1]


def test_many_vcpus_are_counted():
    said = list(after_timeout(machine(*[0] * 20), NO_EXITS, b"", lambda address: None))
    assert len(said) == 1 + 8 + 1
    assert said[-1] == "12 more vCPUs are not shown"


@pytest.mark.parametrize(
    ("console", "line"),
    [
        (b"", ""),
        (b"\r\n \n", ""),
        (b"one\r\nreboot: System halted\r\n\r\n", "reboot: System halted"),
        (b"a\x1b[31mred", r"a\x1b[31mred"),
        (b"x" * 500, "x" * LINE + "…"),
        (b"\xff", r"\ufffd" if not "\ufffd".isprintable() else "\ufffd"),
    ],
)
def test_the_last_line(console, line):
    assert last_line(console) == line


@given(st.binary())
def test_any_console_is_a_printable_line(console):
    assert last_line(console).isprintable()


@pytest.mark.kvm
def test_a_run_that_times_out_says_what_the_guest_was_doing(run_guest, tmp_path):
    (tmp_path / "System.map").write_text("0000000000000f00 T before\n0000000000001000 T busy\n0000000000002000 T end\n")
    # Prints "A" once, and reads a port for ever.
    code = "b0 41 e6 e9 e4 80 eb fc"
    result = run_guest(code, boot={"symbols": "System.map"}, devices=[{"kind": "debug-port"}], vm={"timeout": "300ms"})
    line, vcpu, newest = result.notes
    assert (result.kind, line) == ("timeout", "the console's last line: A")
    assert vcpu.startswith("vCPU 0 was running, at RIP 0x100")
    assert "(busy+0x" in vcpu
    assert "io read 0x80 size 1" in newest
    assert "unclaimed" in newest


@pytest.mark.kvm
def test_a_timeout_that_is_expected_needs_no_advice(run_guest):
    result = run_guest("eb fe", vm={"timeout": "200ms"}, expect={"exit": ["timeout"]}, trace=None)
    assert (result.status, result.notes) == (0, ())
