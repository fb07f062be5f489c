"""What a dump takes from the guest's memory."""

import struct
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.control.dump.writing import PIECE, segments, vmcoreinfo
from runner.control.errors import ControlError
from runner.memory import GuestMemory
from runner.x86.state import State
from vmspec.plan.plan import Slot
from vmspec.registers import system as R

TEXT = b"OSRELEASE=6.1.0\nBUILD-ID=00\nPAGESIZE=4096\nSYMBOL(init_uts_ns)=ffffffff82a1b800\n"
PAGE, SIZE = 4096, 4 * PIECE


@pytest.fixture(scope="module")
def empty():
    memory = GuestMemory((Slot(0, 0, SIZE, 0),))
    yield memory
    memory.close()


@pytest.fixture
def memory(empty):
    empty.write(0, bytes(SIZE))
    return empty


def note(text=TEXT, name=11, size=None):
    """As crash_save_vmcoreinfo_init makes it."""
    return struct.pack("<III", name, len(text) if size is None else size, 0) + b"VMCOREINFO\0\0" + text


@pytest.mark.parametrize("page", [0, 1, PIECE // PAGE, SIZE // PAGE - 1])
def test_linux_note_is_found_in_any_page(memory, page):
    memory.write(page * PAGE, note())
    assert vmcoreinfo(memory) == TEXT


@pytest.mark.parametrize(
    ("at", "data"),
    [
        (8, note()),  # begins no page
        (PAGE, note(name=12)),
        (PAGE, note(size=4097)),
        (PAGE, note(text=TEXT[1:])),
        (PAGE, note(text=TEXT.replace(b"PAGESIZE", b"PAGES"))),
        (PAGE, note(text=TEXT[:60])),  # has been written over
        (SIZE - PAGE, note(size=4096)),  # past the end of the memory
        (0, note()[8:]),
    ],
)
def test_what_looks_like_it_is_not_taken(memory, at, data):
    memory.write(at, data)
    assert vmcoreinfo(memory) is None
    memory.write(2 * PIECE, note())
    assert vmcoreinfo(memory) == TEXT  # a false one hides no true one


@given(st.lists(st.tuples(st.integers(0, SIZE - 64), st.binary(min_size=1, max_size=64)), max_size=4), st.data())
def test_a_guest_may_write_anything(empty, writes, data):
    empty.write(0, bytes(SIZE))
    empty.write(data.draw(st.sampled_from([0, PAGE, SIZE - PAGE])), note(size=data.draw(st.integers(0, 2**32 - 1))))
    for at, what in writes:
        empty.write(at, what)
    found = vmcoreinfo(empty)
    assert found is None or (found.startswith(b"OSRELEASE=") and len(found) <= 4096)


def test_the_walk_of_many_tables_is_given_up_at_the_end_of_the_run(memory):
    """A guest may have thousands of tables that map nothing but each other."""
    memory.write(0x1000, struct.pack("<512Q", *[0x1003] * 512))
    state = State({}, {}, cr0=R.CR0_PE | R.CR0_PG, cr3=0x1000, cr4=R.CR4_PAE, efer=R.EFER_LME | R.EFER_LMA)
    with pytest.raises(ControlError):
        segments(SimpleNamespace(state=state), memory, Mock(side_effect=[None, None, ControlError("state", "")]))
