"""Parts of a tree, and trees as text."""

from contextlib import contextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.control.errors import ControlError
from runner.control.inspection.tree import Later, Still, hexadecimal, select, text

TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


class Machine:
    """One that stands still for the blocks of ``standing``."""

    def __init__(self):
        self.stands, self.stood = False, 0

    @contextmanager
    def standing(self):
        self.stands = True
        yield
        self.stands = False
        self.stood += 1

    def tree(self):
        def registers():
            assert self.stands
            return {"rip": "0x10", "in": Later(symbol)}

        def symbol():
            assert not self.stands
            return "start_kernel+0x4"

        return {"name": "guest", "vcpus": {"0": {"exits": 3, "registers": Still(registers)}}}


@pytest.fixture
def machine():
    return Machine()


REGISTERS = {"rip": "0x10", "in": "start_kernel+0x4"}


@pytest.mark.parametrize(
    ("path", "part", "stood"),
    [
        ("", {"name": "guest", "vcpus": {"0": {"exits": 3, "registers": REGISTERS}}}, 1),
        ("vcpus/0/registers", REGISTERS, 1),
        ("vcpus/0/registers/rip", "0x10", 1),
        ("/vcpus//0/registers/in/", "start_kernel+0x4", 1),
        ("vcpus/0/exits", 3, 0),
        ("name", "guest", 0),
    ],
)
def test_a_part_is_read_and_the_machine_stands_still_only_if_it_must(machine, path, part, stood):
    assert select(machine.tree(), path, machine.standing) == (part, bool(stood))
    assert machine.stood == stood


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("cpus", "the machine has no 'cpus': it has name, vcpus"),
        ("vcpus/1", "vcpus has no '1': it has 0"),
        ("vcpus/0/registers/eip", "vcpus/0/registers has no 'eip': it has rip, in"),
        ("name/first/letter", "name has no parts: leave out /first/letter"),
        ("vcpus/0/registers/rip/low", "vcpus/0/registers/rip has no parts: leave out /low"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(machine, path, message):
    with pytest.raises(ControlError) as caught:
        select(machine.tree(), path, machine.standing)
    assert (caught.value.kind, str(caught.value)) == ("argument", message)
    assert not machine.stands


@given(TREES, st.text())
def test_any_path_is_a_part_or_an_error(tree, path):
    with suppress(ControlError):
        select({"top": tree}, path, contextmanager(lambda: iter([None])))


@given(TREES)
def test_any_tree_is_text(tree):
    assert all(isinstance(line, str) for line in text(tree))


def test_a_tree_as_text():
    many = {f"r{number}": number for number in range(7)}
    tree = {"name": None, "seconds": 1.5, "exits": 12345, "on": True, "a": {"x": 1, "y": "z"}, "bcd": {}, "many": many}
    assert text(tree) == [
        "name     -",
        "seconds  1.5",
        "exits    12,345",
        "on       yes",
        "a     x 1  y z",
        "bcd",
        "many",
        *(f"  r{number}  {number}" for number in range(7)),
    ]


def test_hexadecimal():
    assert (hexadecimal(10), hexadecimal(10, 1)) == ("0x000000000000000a", "0x0a")
