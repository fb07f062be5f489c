"""Which register states are the state of a processor after INIT."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.x86.state import Segment, State, Table, is_reset

GENERAL = dict.fromkeys(("rax", "rbx", "rcx", "rsi", "rdi", "rsp", "rbp", *(f"r{n}" for n in range(8, 16))), 0)
DATA = {name: Segment() for name in ("ds", "es", "fs", "gs", "ss", "tr", "ldt")}
# Intel SDM volume 3, table 10-1; RDX is the signature of a Haswell.
RESET = State(
    registers={**GENERAL, "rdx": 0x306C3, "rip": 0xFFF0, "rflags": 2},
    segments={"cs": Segment(selector=0xF000, base=0xFFFF0000, type=11), **DATA},
    gdt=Table(),
    cr0=0x60000010,
)


def test_the_state_after_reset():
    assert is_reset(RESET)


def test_init_leaves_the_caches_on():
    assert is_reset(RESET._replace(cr0=0x10))


@given(st.integers(0, 2**32 - 1))
def test_rdx_is_any_processors_signature(signature):
    assert is_reset(RESET._replace(registers=RESET.registers | {"rdx": signature}))


@given(st.sampled_from([*GENERAL, "rip", "rflags"]), st.integers(1, 2**64 - 1))
def test_any_other_general_register_tells_a_guest(name, difference):
    assert not is_reset(RESET._replace(registers=RESET.registers | {name: RESET.registers[name] ^ difference}))


@pytest.mark.parametrize(
    "changed",
    [
        {"cr0": 0x11}, {"cr3": 0x1000}, {"cr4": 1}, {"efer": 0x500},
        {"segments": RESET.segments | {"cs": Segment(selector=0xF000, base=0xF0000)}},  # where a guest's own jump leads
        {"segments": RESET.segments | {"ss": Segment(selector=0x10, base=0x100)}},
    ],
    ids=["protected", "cr3", "cr4", "efer", "cs", "ss"],
)  # fmt: skip
def test_system_registers_tell_a_guest(changed):
    assert not is_reset(RESET._replace(**changed))
