"""The tables of names, compared with separate lists: people search for these names."""

import runpy
from pathlib import Path

import pytest

from tracer.decode import ports
from tracer.decode.register import READ, WRITE, spelled
from tracer.decode.uart import COMS, register

GOLDEN = Path(__file__).parent / "golden"


def made_anew():
    """The table of ports, which functions fill as the module is imported: made once more, it is that of changed ones
    too (``make mutants``)."""
    return runpy.run_path(ports.__file__, run_name=ports.__name__)["PORTS"]


def lines():
    """Every port with its name, and that of a write where it has another."""
    made = made_anew()
    for port in sorted(made):
        yield port, made[port].named(READ), made[port].named(WRITE), made[port].size
    for base in sorted(COMS):
        for divisor in (False, True):
            for offset in range(2 if divisor else 8):
                com, found = register(base + offset, divisor)
                yield base + offset, f"{com} {found.named(READ)}", f"{com} {found.named(WRITE)}", found.size


def test_every_port_has_the_name_of_its_data_sheet():
    """What is searched for and filtered by: to change a name is a decision."""
    shown = [
        f"{port:#06x} {size} {read}" + (f" / {write}" if write != read else "") for port, read, write, size in lines()
    ]
    assert shown == (GOLDEN / "ports.txt").read_text().splitlines()


@pytest.mark.parametrize("port", [0x177, 0x376, 0x1F7, 0x3F6])
def test_a_disk_s_status_is_in_words(port):
    assert spelled(0xE9, made_anew()[port].read_bits) == "ERR|DRQ|DF|DRDY|BSY"
