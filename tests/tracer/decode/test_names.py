"""The tables of names, compared with separate lists: people search for these names."""

import runpy
from pathlib import Path

import pytest

from tracer.decode import Decoder, name, pci, ports, virtioconfig
from tracer.decode.msr import MSRS
from tracer.decode.names import listed, possible
from tracer.decode.register import READ, WRITE, Bit, Register, spelled
from tracer.decode.uart import COMS, register
from tracer.decode.virtioconfig import CONFIGURATIONS
from vmspec import layout
from vmspec.registers import virtiopci
from vmspec.trace.record import REASONS

GOLDEN = Path(__file__).parent / "golden"


def made_anew(module=ports, table="PORTS"):
    """A table that functions fill as the module is imported: made once more, it is that of changed ones too (``make
    mutants``)."""
    return runpy.run_path(module.__file__, run_name=module.__name__)[table]


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


# The fields of struct virtio_pci_common_cfg (virtio 1.2, 4.1.4.3): offset, size, name.
COMMON = (
    (0x00, 4, "device_feature_select"), (0x04, 4, "device_feature"), (0x08, 4, "driver_feature_select"),
    (0x0C, 4, "driver_feature"), (0x10, 2, "config_msix_vector"), (0x12, 2, "num_queues"), (0x14, 1, "device_status"),
    (0x15, 1, "config_generation"), (0x16, 2, "queue_select"), (0x18, 2, "queue_size"), (0x1A, 2, "queue_msix_vector"),
    (0x1C, 2, "queue_enable"), (0x1E, 2, "queue_notify_off"), (0x20, 4, "queue_desc, low"),
    (0x24, 4, "queue_desc, high"), (0x28, 4, "queue_driver, low"), (0x2C, 4, "queue_driver, high"),
    (0x30, 4, "queue_device, low"), (0x34, 4, "queue_device, high"), (0x38, 2, "queue_notify_data"),
    (0x3A, 2, "queue_reset"),
)  # fmt: skip


def test_the_structures_of_a_virtio_function_have_the_names_of_the_specification():
    status, isr = (Bit(1, "ACKNOWLEDGE"),), (Bit(1, "used buffer"),)
    made = pci.Virtio(status, isr)
    base = layout.PCI_MEMORY + virtiopci.SIZE
    fields = {at: made.register(base + at) for at, _, _ in COMMON}
    assert [(at, found.size, found.name) for at, found in fields.items()] == [*COMMON]
    assert [at for at, found in fields.items() if found.bits] == [0x14]
    assert (fields[0x14].bits, made.isr) == (status, Register("isr", bits=isr))
    vectors = {at: found.meaning for at, found in fields.items() if found.meaning is not None}
    assert {at: (said(0xFFFF, READ), said(3, READ)) for at, said in vectors.items()} == dict.fromkeys(
        (0x10, 0x1A), ("no vector", "vector 3")
    )
    notify = made.register(base + virtiopci.NOTIFY)
    assert (notify.name, notify.size, notify.meaning(3, WRITE)) == ("notify", 2, "queue 3")


def test_a_field_of_eight_bytes_has_a_high_half():
    """virtio 1.2, 4.2.2.2: a driver may read it in halves."""
    made = made_anew(virtioconfig, "CONFIGURATIONS")
    assert made["virtio-blk"][0] == Register("capacity", size=8)
    assert made["virtio-blk"][4] == Register("capacity high", size=4)
    assert made["virtio-blk"][8] == Register("size_max", size=4)
    assert [at for at, found in made["virtio-blk"].items() if found.name.endswith("high")] == [4]
    assert [(at, made["virtio-pmem"][at].name) for at in sorted(made["virtio-pmem"])] == [
        (0, "start"), (4, "start high"), (8, "size"), (12, "size high"),
    ]  # fmt: skip


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
