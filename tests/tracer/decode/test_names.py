"""The tables of names, compared with separate lists: people search for these names."""

import runpy
from pathlib import Path

import pytest

from tracer.decode import Decoder, name, ports
from tracer.decode.msr import MSRS
from tracer.decode.names import listed, possible
from tracer.decode.register import READ, WRITE, spelled
from tracer.decode.uart import COMS, register
from tracer.decode.virtioconfig import CONFIGURATIONS
from vmspec import layout
from vmspec.trace.record import REASONS

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


def selected(index, selections, data):
    """Names of reads and writes of a register after each of some selections by another."""
    for selection in selections:
        for direction in (READ, WRITE):
            decoder = Decoder()
            decoder.follow(*index, WRITE, selection)
            yield decoder.register(*data, direction)[0]


def names_of_exits():
    """Of every port, every register in memory, and of what other exits select."""
    for direction in (READ, WRITE):
        yield from (name("io", port, 4 if port == 0xCF8 else 1, direction) for port in range(1 << 16))
        pages = [(0xFEE00000, 4096, ""), (0xFEC00000, 4096, ""), (0xFED00000, 1024, "")]
        pages += [(0xD0000000, 512, f"{kind}0") for kind in CONFIGURATIONS]
        pages += [(layout.PCI_MEMORY + 4096 * page, 256, f"{kind}0") for kind in CONFIGURATIONS for page in range(8)]
        pages += [(layout.PCI_ECAM, 4096, "pci-host0")]
        for start, size, device in pages:
            yield from (name("mmio", start + at, 4, direction, device) for at in range(size))
    for base in COMS:
        yield from (found for at in (0, 1) for found in selected(("io", base + 3, 1), [0x80], ("io", base + at, 1)))
    yield from selected(("io", 0x70, 1), range(128), ("io", 0x71, 1))
    yield from selected(("io", 0x64, 1), range(256), ("io", 0x60, 1))
    yield from selected(("mmio", 0xFEC00000, 4), range(256), ("mmio", 0xFEC00010, 4))
    for command in (0x20, 0xA0):
        decoder = Decoder()
        decoder.decode("io", command, 1, WRITE, 0x11)
        yield from (decoder.decode("io", command + 1, 1, WRITE, 0)[0] for _ in range(4))
    yield from (name("rdmsr", msr) for msr in MSRS)
    yield from (name("hypercall", number) for number in range(100))
    yield from (name(reason, 0) for reason in REASONS)
    yield from (name("io", 0, 1, WRITE, device) for device in ("debug-port0", "debug-exit0"))


def test_the_list_has_the_names_that_exits_have():
    """Filters reject a name that no exit can have."""
    listed.cache_clear()
    found = set(names_of_exits())
    assert [one for one in found if not possible(one)] == []
    assert listed() - found == set()
    assert not possible("no such name")
