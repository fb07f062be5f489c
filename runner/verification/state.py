"""The state of a machine whose guest has ended: registers and memory, and how those of two runs differ."""

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from runner.kvm.vcpu import Registers
from runner.machine.machine import Machine
from runner.memory import GuestMemory, MemoryRegion

PAGE = 4096
DIGEST = 16  # bytes for each page
ZERO = bytes(PAGE)
ZEROS = hashlib.blake2b(ZERO, digest_size=DIGEST).digest()


class State(NamedTuple):
    """Registers of the first vCPU by name, and a hash of each page of guest memory, by the start of its region."""

    registers: dict[str, int]
    pages: dict[int, bytes]

    @classmethod
    def of(cls, machine: Machine) -> "State":
        """The machine's state; its vCPU does not run. Raises KvmError."""
        memory = machine.memory
        pages = {region.start: b"".join(_digests(memory, region)) for region in memory.regions}
        return cls(named(machine.vcpus[0].registers()), pages)

    def other_registers(self, other: "State") -> tuple[str, ...]:
        """The names of the registers that differ."""
        return tuple(name for name, value in self.registers.items() if other.registers[name] != value)

    def other_pages(self, other: "State") -> tuple[int, ...]:
        """The guest-physical addresses of the pages that differ."""
        return tuple(
            start + at // DIGEST * PAGE
            for start, ours in self.pages.items()
            if (theirs := other.pages[start]) != ours
            for at in range(0, len(ours), DIGEST)
            if ours[at : at + DIGEST] != theirs[at : at + DIGEST]
        )

    @property
    def hashes(self) -> tuple[str, str]:
        """The SHA-256 of the registers, and that of the memory's pages."""
        memory = hashlib.sha256()
        for start, digests in self.pages.items():
            memory.update(start.to_bytes(8, "little") + digests)
        registers = hashlib.sha256(repr(self.registers).encode())
        return registers.hexdigest(), memory.hexdigest()


def _digests(memory: GuestMemory, region: MemoryRegion) -> Iterator[bytes]:
    with memory.view(region.start, region.size, write=False) as view:
        for at in range(0, region.size, PAGE):
            page = view[at : at + PAGE]
            yield ZEROS if page == ZERO else hashlib.blake2b(page, digest_size=DIGEST).digest()


def named(registers: Registers) -> dict[str, int]:
    """All registers by name."""
    state = registers.state
    tables = {"gdt": state.gdt, "idt": state.idt}
    return {
        **registers.general,
        "cr2": registers.cr2,
        **{name: getattr(state, name) for name in ("cr0", "cr3", "cr4", "efer")},
        **{f"{name}.{field}": int(value) for name, table in tables.items() for field, value in table._asdict().items()},
        **{
            f"{name}.{field}": int(value)
            for name, segment in state.segments.items()
            for field, value in segment._asdict().items()
        },
    }
