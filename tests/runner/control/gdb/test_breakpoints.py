"""Which debug register or INT3 a breakpoint gets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.control.gdb.breakpoints import LENGTHS, REGISTERS, BreakpointError, Breakpoints, Kind, Request

CODE = Request(Kind.SOFTWARE, 0x1000, 1, 0x1000)


def set_up(*requests, widest=8):
    made = Breakpoints(widest)
    for request in requests:
        made.insert(request)
    return made


def test_nothing_is_set_at_first():
    assert Breakpoints().registers() == (0,) * 8


def test_a_breakpoint_takes_a_debug_register():
    assert set_up(CODE).registers() == (0x1000, 0, 0, 0, 0, 0, 0, 0x702)


@pytest.mark.parametrize(
    ("kind", "size", "bits"),
    [(Kind.WRITE, 1, 0x1), (Kind.WRITE, 2, 0x5), (Kind.WRITE, 4, 0xD), (Kind.WRITE, 8, 0x9), (Kind.READ, 4, 0xF),
     (Kind.ACCESS, 4, 0xF), (Kind.HARDWARE, 1, 0)],
)  # fmt: skip
def test_conditions_and_lengths_in_dr7(kind, size, bits):
    made = set_up(Request(Kind.HARDWARE, 0x2000, 1), Request(kind, 0x1000, size))
    assert made.registers() == (0x2000, 0x1000, 0, 0, 0, 0, 0, 0x70A | bits << 20)


def test_a_fifth_breakpoint_is_int3():
    made = set_up(*(Request(Kind.SOFTWARE, at, 1, at + 0x100000) for at in range(5)))
    assert ([point.address for point in made.points], made.patched) == ([0, 1, 2, 3], [Request(0, 4, 1, 0x100004)])
    assert made.at(4) == made.patched[0]
    assert made.at(3) is None


def test_a_watchpoint_takes_the_register_of_a_breakpoint_that_can_be_int3():
    made = set_up(*(Request(Kind.SOFTWARE, at, 1, at) for at in range(4)), Request(Kind.WRITE, 0x1000, 4))
    assert made.patched == [Request(Kind.SOFTWARE, 3, 1, 3)]
    assert made.remove(Kind.WRITE, 0x1000, 4)
    assert made.patched == []


def test_breakpoints_in_code_that_cannot_be_written_stay_in_debug_registers():
    made = set_up(*(Request(Kind.SOFTWARE, at, 1) for at in range(4)))
    before = made.registers()
    for request in (Request(Kind.SOFTWARE, 4, 1), Request(Kind.HARDWARE, 5, 1)):
        with pytest.raises(BreakpointError, match="not memory that can be written"):
            made.insert(request)
    assert made.registers() == before


def test_a_fifth_hardware_breakpoint_is_an_error():
    made = set_up(*(Request(Kind.HARDWARE, at, 1) for at in range(4)))
    with pytest.raises(BreakpointError, match="4 debug registers, and 5 would be needed"):
        made.insert(Request(Kind.HARDWARE, 4, 1))


def test_a_watchpoint_that_is_not_aligned_takes_several():
    made = set_up(Request(Kind.WRITE, 0x1003, 8))
    assert [(point.address, point.size) for point in made.points] == [
        (0x1003, 1),
        (0x1004, 4),
        (0x1008, 2),
        (0x100A, 1),
    ]


def test_eight_bytes_are_two_registers_outside_long_mode():
    made = set_up(Request(Kind.WRITE, 0x1000, 8), widest=4)
    assert [(point.address, point.size) for point in made.points] == [(0x1000, 4), (0x1004, 4)]


@pytest.mark.parametrize(("address", "size"), [(0, 0), (0, 33), (0, 1 << 63), ((1 << 64) - 4, 8)])
def test_watchpoints_of_no_size(address, size):
    with pytest.raises(BreakpointError):
        Breakpoints().insert(Request(Kind.WRITE, address, size))


def test_dr6_names_the_breakpoint_that_was_met():
    watch = Request(Kind.WRITE, 0x1000, 4)
    made = set_up(watch, CODE)
    assert [made.met(dr6) for dr6 in (0, 1, 2, 3, 8)] == [None, watch, CODE, watch, None]


def test_what_is_not_there_cannot_be_removed():
    assert not set_up(CODE).remove(Kind.HARDWARE, 0x1000, 1)


REQUESTS = st.builds(
    Request, st.sampled_from(Kind), st.integers(0, (1 << 64) - 1), st.integers(0, 40), st.none() | st.integers(0, 99)
)


@given(st.lists(REQUESTS, max_size=12), st.sampled_from([4, 8]))
def test_any_breakpoints_fit_or_are_refused(requests, widest):
    made, kept = Breakpoints(widest), {}
    for request in requests:
        try:
            made.insert(request)
        except BreakpointError:
            continue
        kept[request[:3]] = request
    assert len(made.points) <= REGISTERS
    assert all(point.address % point.size == 0 and point.size in LENGTHS for point in made.points)
    assert all(request.physical is not None for request in made.patched)
    placed = {point.request[:3] for point in made.points} | {request[:3] for request in made.patched}
    assert placed == kept.keys()
    for key in list(kept):
        assert made.remove(*key)
    assert made.registers() == (0,) * 8
