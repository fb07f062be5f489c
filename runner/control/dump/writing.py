"""Writing a core file of a machine that stands still."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from runner.control.dump.corefile import Segment, head
from runner.control.errors import ControlError
from runner.kvm.vcpu import Registers
from runner.machine.machine import Machine
from runner.memory import GuestMemory
from runner.x86.pagetables import mappings
from vmspec.host.atomic import replaced

PIECE = 1 << 16  # bytes that are read at once, and are a hole of the file if they are zero
ZEROS = bytes(PIECE)


def dump(machine: Machine, path: Path) -> int:
    """Write the core file; returns the bytes of memory in it. The machine stands still. The end of the run waits for it
    only until the next piece. Raises ControlError, OSError."""
    vcpus = [vcpu.registers() for vcpu in machine.vcpus]
    regions = machine.memory.regions
    with replaced(path) as file:
        file.write(head(vcpus, segments(vcpus[0], machine.memory)))
        for region in regions:
            for at in range(region.start, region.start + region.size, PIECE):
                if machine.stopping.is_set():
                    raise ControlError("state", "the run has ended: the dump was not finished")
                _put(file, machine.memory.read(at, min(PIECE, region.start + region.size - at)))
        file.truncate(file.tell())
    return sum(region.size for region in regions)


def _put(file: BinaryIO, data: bytes) -> None:
    if data == ZEROS[: len(data)]:
        file.seek(len(data), 1)
    else:
        file.write(data)


def segments(registers: Registers, memory: GuestMemory) -> list[Segment]:
    """The segments of the memory: the linear addresses that the first vCPU's page tables map, then all memory by its
    guest-physical addresses. A debugger takes the first segment that has an address."""
    found, at = [], 0
    places = []
    for region in memory.regions:
        places.append((region.start, region.size, at))
        at += region.size
    for mapping in mappings(registers.state, memory.read):
        found += list(_parts(mapping.linear, mapping.physical, mapping.size, places))
    return [*found, *(Segment(start, start, size, at) for start, size, at in places)]


def _parts(linear: int, physical: int, size: int, places: list[tuple[int, int, int]]) -> Iterator[Segment]:
    """The parts of a mapped range that are memory."""
    for start, length, at in places:
        low, high = max(physical, start), min(physical + size, start + length)
        if low < high:
            yield Segment(linear + low - physical, low, high - low, at + low - start)
