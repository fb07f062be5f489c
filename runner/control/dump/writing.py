"""Writing a core file of a machine that stands still."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from runner.control.dump.corefile import NOTE, PAGE, VMCOREINFO, Segment, head
from runner.control.errors import ControlError
from runner.kvm.vcpu import Registers
from runner.machine.machine import Machine
from runner.memory import GuestMemory
from runner.x86.pagetables import mappings
from vmspec.host.atomic import replaced

PIECE = 1 << 16  # bytes that are read at once, and are a hole of the file if they are zero
ZEROS = bytes(PIECE)
NOTE_NAME = bytes(4) + VMCOREINFO + b"\0"  # of the note in the guest's memory, behind its type
NEEDED = (b"\nPAGESIZE=4096\n", b"\nSYMBOL(init_uts_ns)=")  # debuggers refuse a file whose note lacks them
LARGEST = 4096  # bytes of VMCOREINFO (VMCOREINFO_BYTES in Linux's include/linux/vmcore_info.h, a page)


def dump(machine: Machine, path: Path) -> int:
    """Write the core file; returns the bytes of memory in it. The machine stands still. The end of the run waits for it
    only until the next piece. Raises ControlError, OSError."""

    def goes_on() -> None:
        if machine.stopping.is_set():
            raise ControlError("state", "the run has ended: the dump was not finished")

    vcpus = [vcpu.registers() for vcpu in machine.vcpus]
    regions = machine.memory.regions
    with replaced(path) as file:
        file.write(head(vcpus, segments(vcpus[0], machine.memory, goes_on), vmcoreinfo(machine.memory, goes_on)))
        for _, data in _pieces(machine.memory, goes_on):
            _put(file, data)
        file.truncate(file.tell())
    return sum(region.size for region in regions)


def _pieces(memory: GuestMemory, goes_on: Callable[[], None]) -> Iterator[tuple[int, bytes]]:
    """All memory in pieces, each with its guest-physical address."""
    for region in memory.regions:
        for at in range(region.start, region.start + region.size, PIECE):
            goes_on()
            yield at, memory.read(at, min(PIECE, region.start + region.size - at))


def vmcoreinfo(memory: GuestMemory, goes_on: Callable[[], None] = lambda: None) -> bytes | None:
    """What Linux says of itself to those who read its memory: the note that it has for kdump, which begins a page since
    Linux 4.13 (kernel/crash_core.c, crash_save_vmcoreinfo_init). None: the guest has none. ``goes_on`` may raise to
    give up."""
    for address, data in _pieces(memory, goes_on):
        for at in range(0, len(data), PAGE):
            if data.startswith(NOTE_NAME, at + 8) and (text := _text(memory, address + at)) is not None:
                return text  # behind the sizes of name and contents
    return None


def _text(memory: GuestMemory, address: int) -> bytes | None:
    """The contents of the note there; None: it is none of Linux's, or the rest of one."""
    name, size, _ = NOTE.unpack(memory.read(address, NOTE.size))
    if name != len(VMCOREINFO) or size > LARGEST:
        return None
    try:
        text = memory.read(address + NOTE.size + len(VMCOREINFO) + 1, size)
    except ValueError:  # it would be longer than the memory
        return None
    return text if text.startswith(b"OSRELEASE=") and all(part in text for part in NEEDED) else None


def _put(file: BinaryIO, data: bytes) -> None:
    if data == ZEROS[: len(data)]:
        file.seek(len(data), 1)
    else:
        file.write(data)


def segments(registers: Registers, memory: GuestMemory, goes_on: Callable[[], None] = lambda: None) -> list[Segment]:
    """The segments of the memory: the linear addresses that the first vCPU's page tables map, then all memory by its
    guest-physical addresses. A debugger takes the first segment that has an address. ``goes_on`` may raise to give
    up."""

    def read(address: int, size: int) -> bytes:
        goes_on()  # a guest may have many tables
        return memory.read(address, size)

    found, at = [], 0
    places = []
    for region in memory.regions:
        places.append((region.start, region.size, at))
        at += region.size
    for mapping in mappings(registers.state, read):
        found += list(_parts(mapping.linear, mapping.physical, mapping.size, places))
    return [*found, *(Segment(start, start, size, at) for start, size, at in places)]


def _parts(linear: int, physical: int, size: int, places: list[tuple[int, int, int]]) -> Iterator[Segment]:
    """The parts of a mapped range that are memory."""
    for start, length, at in places:
        low, high = max(physical, start), min(physical + size, start + length)
        if low < high:
            yield Segment(linear + low - physical, low, high - low, at + low - start)
