"""The tables of names, compared with separate lists: people search for these names."""

from pathlib import Path

from tracer.decode.ports import PORTS
from tracer.decode.register import READ, WRITE
from tracer.decode.uart import COMS, register

GOLDEN = Path(__file__).parent / "golden"


def lines():
    """Every port with its name, and that of a write where it has another."""
    for port in sorted(PORTS):
        yield port, PORTS[port].named(READ), PORTS[port].named(WRITE), PORTS[port].size
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
